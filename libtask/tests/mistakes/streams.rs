use libtask::{Later, Sink};

#[libtask::interface]
trait Feed {
    #[id(1)]
    fn two(&self, a: Sink<u32>, b: Sink<u32>);
    #[id(2)]
    fn first(&self, a: Sink<u32>, b: u32);
    #[id(3)]
    fn both(&self, a: Later<u32>) -> u32;
    #[id(4)]
    #[queue = 5]
    fn queue(&self);
    #[id(5)]
    #[oneway]
    fn tell(&self, a: Sink<u32>);
}

fn main() {}
