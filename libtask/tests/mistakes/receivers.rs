#[libtask::interface]
trait Adder {
    #[id(1)]
    fn eat(self, a: u64) -> u64;
    #[id(2)]
    fn free(a: u64) -> u64;
    #[id(3)]
    fn kept(&'static self, a: u64) -> u64;
}

fn main() {}
