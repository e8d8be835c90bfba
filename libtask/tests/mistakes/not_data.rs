/// Without `#[libtask::data]`.
struct Book {
    title: String,
}

/// With serde, and no schema.
#[derive(serde::Serialize, serde::Deserialize)]
struct Shelf {
    number: u32,
}

/// What a shelf may not be.
struct Full;

#[libtask::interface]
trait Library {
    #[id(1)]
    fn put(&self, book: Book);
    #[id(2)]
    fn find(&self, title: &str) -> Option<Book>;
    #[id(3)]
    fn shelf(&self, of: &Shelf) -> Result<u32, Full>;
    #[id(4)]
    fn all(&self, books: libtask::Sink<Book>);
    #[id(5)]
    fn later(&self, answer: libtask::Later<Book>);
}

fn main() {
    let _ = (Book { title: String::new() }.title, Shelf { number: 1 }.number, Full);
}
