//! A cache hit allocates no memory and makes no system call.

#![allow(unsafe_code)] // counting allocator; thread that must not make system calls

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use layerfi_auth::blocking::Client;
use layerfi_auth::{AccessToken, BusinessId, SessionDuration, TokenReader};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID, Emulator};
use layerfi_auth_tests::{client_builder, wait_for};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all calls are forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller meets the requirements of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller meets the requirements of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A client with cached tokens. It uses the system's clock, which is part of a hit.
fn warm() -> (Emulator, Client, BusinessId) {
    let emulator = Emulator::builder().start_blocking().unwrap();
    let client = client_builder(&emulator).build_blocking().unwrap();
    let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    client.token().unwrap();
    client.business_token(&business).unwrap();
    (emulator, client, business)
}

/// Reads cached tokens in every way.
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
        assert!(client.try_token().unwrap().is_some());
        assert!(client.token().is_ok());
        assert!(
            client
                .as_async()
                .try_business_token(business, session)
                .unwrap()
                .is_some()
        );
        assert!(client.borrow_business_token(business, session).is_some());
        assert!(client.business_token(business).is_ok());
    }
}

#[test]
fn b01_cache_hit_allocates_no_memory() {
    let (_emulator, client, business) = warm();
    let mut reader = client.reader();
    hits(&client, &mut reader, &business, 1); // the first call of a thread initializes its storage
    let before = ALLOCATIONS.get();
    hits(&client, &mut reader, &business, 1_000);
    assert_eq!(ALLOCATIONS.get() - before, 0, "cache hits allocated memory");
    black_box(Box::new(1));
    assert_eq!(
        ALLOCATIONS.get() - before,
        1,
        "the counting allocator does not count"
    );
}

/// Runs `work` in a thread in seccomp's strict mode, in which the kernel kills the
/// thread at any system call except `read`, `write`, `exit` and `sigreturn`. Returns
/// whether the thread survived.
#[cfg(target_os = "linux")]
fn survives_without_system_calls(work: impl FnOnce() + Send + 'static) -> bool {
    const RUNNING: u32 = 0;
    const DONE: u32 = 1;
    const UNSUPPORTED: u32 = 2;
    let state = Arc::new(AtomicU32::new(RUNNING));
    let id = Arc::new(AtomicU32::new(0));
    let (thread_state, thread_id) = (Arc::clone(&state), Arc::clone(&id));
    // Not joined: the thread ends without its usual cleanup, which would make
    // system calls.
    drop(std::thread::spawn(move || {
        // SAFETY: a system call without arguments.
        let id = unsafe { libc::gettid() };
        thread_id.store(u32::try_from(id).unwrap(), Ordering::SeqCst);
        // SAFETY: restricts only this thread; no pointers are passed.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        if result != 0 {
            thread_state.store(UNSUPPORTED, Ordering::SeqCst);
            return;
        }
        work();
        thread_state.store(DONE, Ordering::SeqCst);
        // SAFETY: ends only this thread, which owns nothing that must be freed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }));
    wait_for("the thread ends or is killed", || {
        let id = id.load(Ordering::SeqCst);
        let killed = id != 0 && !Path::new(&format!("/proc/self/task/{id}")).exists();
        killed || state.load(Ordering::SeqCst) != RUNNING
    });
    let state = state.load(Ordering::SeqCst);
    assert_ne!(state, UNSUPPORTED, "this machine does not support seccomp");
    state == DONE
}

#[cfg(target_os = "linux")]
#[test]
fn b01_cache_hit_makes_no_system_call() {
    let (_emulator, client, business) = warm();
    let client_of_thread = client.clone();
    let survived = survives_without_system_calls(move || {
        let mut reader = client_of_thread.reader();
        hits(&client_of_thread, &mut reader, &business, 1_000);
        std::mem::forget((client_of_thread, reader, business));
    });
    assert!(survived, "a cache hit made a system call");
    let survived = survives_without_system_calls(|| {
        // SAFETY: a system call without arguments.
        black_box(unsafe { libc::getppid() });
    });
    assert!(!survived, "the kernel did not prevent a system call");
}
