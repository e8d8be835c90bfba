use std::rc::Rc;

/// Cooks.
#[libtask::interface]
trait Kitchen {
    /// Cooks.
    #[id(1)]
    async fn cook(&self, dish: &str) -> String;
    /// Cleans.
    #[id(2)]
    async fn clean(&self);
}

struct Stove;

impl Kitchen for Stove {
    async fn cook(&self, dish: &str) -> String {
        let dish = Rc::new(dish.to_owned());
        std::future::ready(()).await;
        dish.to_string()
    }
    fn clean(&self) {}
}

fn main() {}
