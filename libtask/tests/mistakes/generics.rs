#[libtask::interface]
trait Adder {
    #[id(1)]
    fn add<T>(&self, a: T) -> u64;
    #[id(2)]
    fn any(&self, a: impl Into<u64>) -> u64;
    #[id(3)]
    fn borrow<'a>(&self, a: &'a str) -> u64;
    #[id(4)]
    fn change(&self, a: &mut u64);
    type Number;
}

#[libtask::interface]
trait Of<T> {
    #[id(1)]
    fn get(&self) -> u64;
}

fn main() {}
