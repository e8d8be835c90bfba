type Result<T> = std::result::Result<T, String>;

#[libtask::interface]
trait Store {
    #[id(1)]
    fn get(&self) -> Result<u64>;
    #[id(2)]
    fn name(&self) -> &str;
    #[id(3)]
    #[oneway]
    fn tell(&self) -> u32;
}

fn main() {}
