trait Plain {}

#[libtask::interface]
trait Painter {
    #[id(1)]
    fn plain(&self) -> libtask::SendRight<dyn Plain>;
}

fn main() {}
