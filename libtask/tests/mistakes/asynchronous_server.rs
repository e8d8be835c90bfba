/// Cooks.
#[libtask::interface]
trait Kitchen {
    /// Cooks.
    #[id(1)]
    async fn cook(&self, dish: &str) -> String;
}

struct Stove;

impl Kitchen for Stove {
    async fn cook(&self, dish: &str) -> String {
        dish.to_owned()
    }
}

fn serve(task: &libtask::Task) -> libtask::Result<()> {
    task.new_port_of::<dyn Kitchen>()?.serve(Stove)
}

fn main() {
    let _ = serve;
}
