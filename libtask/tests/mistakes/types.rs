struct Point {
    x: u32,
}

trait Plain {}

#[libtask::interface]
trait Painter {
    #[id(1)]
    fn dot(&self, at: Point);
    #[id(2)]
    fn plain(&self) -> libtask::SendRight<dyn Plain>;
    #[id(3)]
    fn raw(&self, #[pod] at: Point);
}

fn main() {
    let _ = Point { x: 1 }.x;
}
