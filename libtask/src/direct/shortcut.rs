//! What need not be looked up for each message: the routes that a thread used last, and where a right's messages come to.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use umach_abi::Name;

use super::Plane;
use super::table::{OutRoute, Place};

/// Routes that a thread remembers.
const ROUTES: usize = 4;

thread_local! {
    /// A thread that sleeps must not keep the memory of a link that is over: see [`forget_routes`].
    static LAST: [Cell<Option<Arc<OutRoute>>>; ROUTES] = const { [const { Cell::new(None) }; ROUTES] };
}

/// Before this thread sleeps.
pub(super) fn forget_routes() {
    let _ = LAST.try_with(|last| last.iter().for_each(|cell| drop(cell.take())));
}

/// A route that is used. Whichever thread has done so remembers it: it is taken out of there and put back, which costs no count of references.
pub(super) struct Used(Option<Arc<OutRoute>>);

impl Deref for Used {
    type Target = Arc<OutRoute>;
    #[inline]
    fn deref(&self) -> &Arc<OutRoute> {
        self.0.as_ref().expect("present until drop")
    }
}

impl Drop for Used {
    #[inline]
    fn drop(&mut self) {
        let Some(route) = self.0.take() else { return };
        if !route.over.load(Ordering::Acquire) {
            let _ = LAST.try_with(|last| last[cell_of(route.name)].set(Some(route)));
        }
    }
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
    /// The route of a right, if it has one.
    #[inline]
    pub(super) fn route_of(&self, name: Name) -> Option<Used> {
        match LAST.try_with(|last| last[cell_of(name)].take()).ok().flatten() {
            Some(route) if route.name == name && route.plane == self.id.0 && !route.over.load(Ordering::Acquire) => Some(Used(Some(route))),
            _ => self.route(name).map(|route| Used(Some(route))),
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
