#[libtask::interface(name = "a b")]
trait Spaced {
    #[id(1)]
    #[deadline = "soon"]
    fn get(&self) -> u64;
    #[id(2)]
    fn begin(&self);
    #[id(3)]
    fn pod(&self, #[pod] a: [u8; 4], b: u32);
    #[id(4)]
    #[cfg(unix)]
    fn some(&self);
}

#[libtask::interface(base = 7, colour = "red")]
trait Low {
    #[id(1)]
    fn get(&self) -> u64;
}

#[libtask::interface]
struct NoTrait;

#[libtask::data]
fn no_data() {}

fn main() {}
