use std::future::Future;

use libtask::Later;

#[libtask::interface]
trait Kitchen {
    #[id(1)]
    async fn cook(&self, dish: &str) -> String;
    #[id(2)]
    async fn clean(&mut self);
    #[id(3)]
    fn count(&mut self) -> u32;
    #[id(4)]
    async fn wait(&self, answer: Later<u32>);
    #[id(5)]
    fn bake(&self, dish: String) -> impl Future<Output = String> + Send;
    #[id(6)]
    async fn any<T: Send>(&self, dish: T) -> T;
    #[id(7)]
    async fn taste<'a>(&'a self, dish: &'a str) -> &'a str;
}

fn main() {}
