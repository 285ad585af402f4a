//! Allocator that wipes memory before it is freed.
//!
//! This crate wipes its own secrets. The HTTP and TLS libraries below it copy
//! every request and response through their own buffers and free them
//! unchanged. Only the allocator sees all of these buffers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;

use zeroize::Zeroize as _;

/// Global allocator that overwrites memory with zeros before it is freed.
///
/// With it, no part of a client secret or a token stays on the heap after the
/// client and its tokens are dropped, not even in buffers of the HTTP and TLS
/// libraries. The C library and the Python package have it built in; a Rust
/// program selects it in its `main.rs`:
///
/// ```
/// use layerfi_auth::ZeroOnFree;
///
/// #[global_allocator]
/// static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();
/// ```
///
/// To wrap another allocator: `ZeroOnFree::around(MyAllocator)`.
///
/// It costs one `memset` per freed block, and a copy where a growing block could
/// have been extended in place. Cache hits cost nothing more, since they do not
/// allocate.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroOnFree<A = System>(A);

impl ZeroOnFree {
    /// Wraps the system's allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self(System)
    }
}

impl<A> ZeroOnFree<A> {
    /// Wraps another allocator.
    #[must_use]
    pub const fn around(allocator: A) -> Self {
        Self(allocator)
    }
}

// SAFETY: every block comes from the inner allocator and returns to it with its
// own layout, and is written only before it is returned. `realloc` is the
// trait's default, which allocates, copies and frees through these methods. The
// `realloc` of the inner allocator could move a block without wiping the old
// one. Nothing here allocates or panics.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroOnFree<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the trait's contract, which is the same.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller returns a whole block of this layout, which no other
        // code may access any more; its bytes need not be initialized.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size())
        };
        // Not `write_bytes`, which a compiler may remove before `free`.
        bytes.zeroize();
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Records the contents of freed blocks.
    struct Recorder(Mutex<Vec<Vec<u8>>>);

    // SAFETY: all calls are forwarded to the system's allocator.
    #[allow(unsafe_code)]
    unsafe impl GlobalAlloc for Recorder {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's contract is the same.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the tests below have written every byte of the block.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.0.lock().unwrap().push(bytes.to_vec());
            // SAFETY: as above.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn b20_freed_and_moved_blocks_are_zeroed() {
        let allocator = ZeroOnFree::around(Recorder(Mutex::new(Vec::new())));
        let small = Layout::from_size_align(100, 8).unwrap();
        let large = Layout::from_size_align(5_000, 8).unwrap();
        // SAFETY: the block is used within its size and freed once, with its current
        // layout.
        unsafe {
            let block = allocator.alloc(small);
            assert!(!block.is_null());
            block.write_bytes(b'x', small.size());
            let block = allocator.realloc(block, small, large.size());
            assert!(!block.is_null());
            assert_eq!(
                *block.add(small.size() - 1),
                b'x',
                "the contents were not copied"
            );
            block.write_bytes(b'x', large.size());
            allocator.dealloc(block, large);
        }
        let freed = allocator.0.0.into_inner().unwrap();
        assert_eq!(freed, [vec![0; small.size()], vec![0; large.size()]]);
    }
}
