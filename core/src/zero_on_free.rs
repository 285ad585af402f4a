//! An allocator that leaves nothing behind in memory that is given back.
//!
//! This crate wipes what it owns. The HTTP and TLS libraries below it have
//! buffers of their own, through which every request and answer goes, and free
//! them as they are: only the allocator sees them all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;

use zeroize::Zeroize as _;

/// A global allocator that overwrites memory with zeros before it is freed.
///
/// With it, nothing of a client secret or a token is left on the heap once the
/// client and its tokens are dropped, in the buffers of the libraries below
/// included. The C library and the Python package have it built in; a Rust
/// program says so in its `main.rs`:
///
/// ```
/// use layerfi_auth::ZeroOnFree;
///
/// #[global_allocator]
/// static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();
/// ```
///
/// Around an allocator of your choice: `ZeroOnFree::around(MyAllocator)`.
///
/// It costs one `memset` per freed block, and a copy where a growing block
/// might have been extended where it lies. A token at hand costs nothing more:
/// it allocates nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroOnFree<A = System>(A);

impl ZeroOnFree {
    /// Around the system's allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self(System)
    }
}

impl<A> ZeroOnFree<A> {
    /// Around another allocator.
    #[must_use]
    pub const fn around(allocator: A) -> Self {
        Self(allocator)
    }
}

// SAFETY: every block comes from the inner allocator and goes back to it with
// its own layout, and is written to only while it is still the caller's to
// give back. `realloc` is the trait's own, which allocates, copies and frees
// through the methods here: the inner one's might move a block and leave the
// old one as it was. Nothing here allocates or panics.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroOnFree<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the trait's terms, which are the same.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a whole block of this layout, which
        // nobody else may touch any more; its bytes need not be initialized.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size())
        };
        // Not `write_bytes`, which a compiler drops in front of `free`.
        bytes.zeroize();
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Looks at what is given back, and gives it back.
    struct Witness(Mutex<Vec<Vec<u8>>>);

    // SAFETY: as the system's, to which everything goes.
    #[allow(unsafe_code)]
    unsafe impl GlobalAlloc for Witness {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's terms are the same.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the tests below have written to every byte of the block.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.0.lock().unwrap().push(bytes.to_vec());
            // SAFETY: as above.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn b20_a_block_is_zeros_when_it_is_freed_or_moved() {
        let allocator = ZeroOnFree::around(Witness(Mutex::new(Vec::new())));
        let small = Layout::from_size_align(100, 8).unwrap();
        let large = Layout::from_size_align(5_000, 8).unwrap();
        // SAFETY: the block is used within its size, and given back once with
        // the layout that it has by then.
        unsafe {
            let block = allocator.alloc(small);
            assert!(!block.is_null());
            block.write_bytes(b'x', small.size());
            let block = allocator.realloc(block, small, large.size());
            assert!(!block.is_null());
            assert_eq!(*block.add(small.size() - 1), b'x', "moved with its text");
            block.write_bytes(b'x', large.size());
            allocator.dealloc(block, large);
        }
        let freed = allocator.0.0.into_inner().unwrap();
        assert_eq!(freed, [vec![0; small.size()], vec![0; large.size()]]);
    }
}
