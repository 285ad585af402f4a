//! What a hit may not do: allocate, or call into the kernel.

#![allow(unsafe_code)] // an allocator that counts, and a thread that may make no system call

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth::blocking::Client;
use layerfi_auth::{AccessToken, BusinessId, SessionDuration, TokenReader};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID, Emulator};
use layerfi_auth_tests::client_builder;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A client with its tokens at hand. (The system's clock: that is part of it.)
fn warm() -> (Emulator, Client, BusinessId) {
    let emulator = Emulator::builder().start_blocking().unwrap();
    let client = client_builder(&emulator).build_blocking().unwrap();
    let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    client.token().unwrap();
    client.business_token(&business).unwrap();
    (emulator, client, business)
}

/// Every way to a token that is there.
fn hits(client: &Client, reader: &mut TokenReader, business: &BusinessId, times: u32) {
    let session = SessionDuration::default();
    for _ in 0..times {
        assert!(client.borrow_token().is_some());
        black_box(
            client
                .borrow_token()
                .as_deref()
                .map(AccessToken::authorization),
        );
        assert!(reader.borrow_token().is_some());
        assert!(client.try_token().is_some());
        assert!(client.token().is_ok());
        assert!(
            client
                .as_async()
                .try_business_token(business, session)
                .is_some()
        );
        assert!(client.business_token(business).is_ok());
    }
}

#[test]
fn b01_a_hit_allocates_nothing() {
    let (_emulator, client, business) = warm();
    let mut reader = client.reader();
    hits(&client, &mut reader, &business, 1); // a thread's first use sets up its own storage
    let before = ALLOCATIONS.get();
    hits(&client, &mut reader, &business, 1_000);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    black_box(Box::new(1));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the allocator counts");
}

/// The kernel itself is the judge: in seccomp's strict mode, every system
/// call but `read`, `write`, `exit` and `sigreturn` ends the thread.
#[cfg(target_os = "linux")]
fn survives_without_system_calls(work: impl FnOnce() + Send + 'static) -> bool {
    const RUNNING: u32 = 0;
    const DONE: u32 = 1;
    const REFUSED: u32 = 2;
    let state = Arc::new(AtomicU32::new(RUNNING));
    let of_the_thread = Arc::clone(&state);
    // Never joined: it ends without the ceremony of a thread's end, which
    // would be system calls.
    drop(std::thread::spawn(move || {
        // SAFETY: restricts this thread alone; no pointers are passed.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        if result != 0 {
            of_the_thread.store(REFUSED, Ordering::SeqCst);
            return;
        }
        work();
        of_the_thread.store(DONE, Ordering::SeqCst);
        // SAFETY: ends this thread alone, which owns nothing that must be freed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }));
    let start = Instant::now();
    while state.load(Ordering::SeqCst) == RUNNING && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_ne!(
        state.load(Ordering::SeqCst),
        REFUSED,
        "this machine has no seccomp"
    );
    state.load(Ordering::SeqCst) == DONE
}

#[cfg(target_os = "linux")]
#[test]
fn b01_a_hit_makes_no_system_call() {
    let (_emulator, client, business) = warm();
    let hitting = client.clone();
    assert!(survives_without_system_calls(move || {
        let mut reader = hitting.reader();
        hits(&hitting, &mut reader, &business, 1_000);
        std::mem::forget((hitting, reader, business));
    }));
    // The judge can say no.
    assert!(!survives_without_system_calls(|| {
        // SAFETY: a system call without arguments.
        black_box(unsafe { libc::getppid() });
    }));
}
