//! What need not be looked up for each message: the routes that a thread used last, and where a right's messages come to.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use umach_abi::Name;

use super::Plane;
use super::route::OutRoute;
use super::table::Place;

/// Routes that a thread remembers.
const ROUTES: usize = 4;

thread_local! {
    /// Weak: a thread that does not send any more must not keep the memory of a link that is over.
    static LAST: [Cell<Weak<OutRoute>>; ROUTES] = const { [const { Cell::new(Weak::new()) }; ROUTES] };
}

/// Tells this process's planes apart.
pub(super) struct PlaneId(u64);

impl Default for PlaneId {
    fn default() -> PlaneId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        PlaneId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a name is remembered. Names differ in their upper bits first.
fn cell_of(name: Name) -> usize {
    (name.0 >> 8) as usize % ROUTES
}

impl Plane {
    /// The route of a right, if it has one. This thread is likely to use it again, and remembers it.
    #[inline]
    pub(super) fn route_of(&self, name: Name) -> Option<Arc<OutRoute>> {
        let remembered = LAST.try_with(|last| {
            let cell = &last[cell_of(name)];
            let weak = cell.take();
            let route = weak.upgrade();
            cell.set(weak);
            route
        });
        match remembered.ok().flatten() {
            Some(route) if route.name == name && route.plane == self.id.0 && !route.over.load(Ordering::Acquire) => Some(route),
            _ => {
                let route = self.route(name)?;
                let _ = LAST.try_with(|last| last[cell_of(name)].set(Arc::downgrade(&route)));
                Some(route)
            }
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.id.0
    }

    /// Where a right's messages come to, if some of them come over links.
    #[inline]
    pub(crate) fn place_of(&self, name: Name, shortcut: Option<&Shortcut>) -> Option<Arc<Place>> {
        if let Some(place) = shortcut.and_then(|shortcut| shortcut.0.get()) {
            return Some(place.clone());
        }
        let place = self.place(name)?;
        if let Some(shortcut) = shortcut {
            let _ = shortcut.0.set(place.clone());
        }
        Some(place)
    }
}

/// What a handle that receives remembers: its place is its own for good.
#[derive(Default)]
pub(crate) struct Shortcut(OnceLock<Arc<Place>>);

impl Shortcut {
    #[inline]
    pub(super) fn place(&self) -> Option<&Arc<Place>> {
        self.0.get()
    }
}

impl fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shortcut")
    }
}
