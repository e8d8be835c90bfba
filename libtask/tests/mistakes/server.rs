/// Adds.
#[libtask::interface]
trait Adder {
    #[id(1)]
    fn add(&self, a: u64, b: u64) -> u64;
}

struct NoAdder;

fn serve(task: &libtask::Task) -> libtask::Result<()> {
    task.new_port_of::<dyn Adder>()?.serve(NoAdder)
}

fn main() {
    let _ = serve;
}
