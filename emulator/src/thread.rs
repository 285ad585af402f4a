//! The emulator's own thread and runtime.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::addresses::Addresses;
use crate::control;
use crate::emulator::Emulator;
use crate::error::EmulatorError;
use crate::server;
use crate::state::State;

/// A running emulator's thread. Dropping it stops the emulator: every task and
/// connection has ended and both ports are free when `drop` returns.
pub(crate) struct Thread {
    /// There until it is dropped.
    running: Option<Running>,
    /// The process that has the thread. In a forked child it does not exist:
    /// a join never returns, and what the handles look into, such as the list
    /// of those who wait, lies on a stack that may be gone.
    process: u32,
}

struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Thread {
    fn here(&self) -> Option<&Running> {
        let is_here = self.process == std::process::id();
        self.running.as_ref().filter(|_| is_here)
    }

    pub(crate) fn stop(&self) {
        if let Some(running) = self.here() {
            running.stop.send_replace(true);
        }
    }

    /// Resolves when the emulator has been told to stop; at once in a forked child.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let stop = self.here().map(|running| running.stop.subscribe());
        async move {
            if let Some(stop) = stop {
                wait(stop).await;
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
        let is_here = self.here().is_some();
        match self.running.take() {
            Some(running) if is_here => {
                let _ = running.thread.join();
            }
            running => std::mem::forget(running),
        }
    }
}

async fn wait(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

pub(crate) fn start(
    state: State,
    api: TcpListener,
    control: TcpListener,
) -> Result<Emulator, EmulatorError> {
    let address = |listener: &TcpListener| listener.local_addr().map_err(EmulatorError::Thread);
    let addresses = Addresses {
        api: address(&api)?,
        control: address(&control)?,
        tls: state.tls().is_some(),
    };
    let state = Arc::new(state);
    let stop = watch::Sender::new(false);
    let shared = Shared {
        state: Arc::clone(&state),
        addresses,
        stop: stop.clone(),
    };
    // The runtime is made on its thread: one that fails to start must not be
    // dropped inside a caller's runtime, which panics.
    let (started, outcome) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("layerfi-emulator".to_owned())
        .spawn(
            move || match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => run(&runtime, &shared, api, control, &started),
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            },
        )
        .map_err(EmulatorError::Thread)?;
    match outcome.recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(EmulatorError::Thread(error)),
        Err(_) => return Err(EmulatorError::Thread(std::io::ErrorKind::Other.into())),
    }
    let thread = Thread {
        running: Some(Running { stop, thread }),
        process: std::process::id(),
    };
    Ok(Emulator::new(state, addresses, thread))
}

struct Shared {
    state: Arc<State>,
    addresses: Addresses,
    stop: watch::Sender<bool>,
}

fn run(
    runtime: &Runtime,
    shared: &Shared,
    api: TcpListener,
    control: TcpListener,
    started: &mpsc::SyncSender<std::io::Result<()>>,
) {
    runtime.block_on(async {
        let listen = tokio::net::TcpListener::from_std;
        let (api, control) = match (listen(api), listen(control)) {
            (Ok(api), Ok(control)) => (api, control),
            (Err(error), _) | (_, Err(error)) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(()));
        let state = &shared.state;
        let context = Arc::new(control::Control {
            state: Arc::clone(state),
            addresses: shared.addresses,
            stop: shared.stop.clone(),
        });
        tokio::select! {
            () = server::accept(api, |stream| server::serve(Arc::clone(state), stream)) => {}
            () = server::accept(control, |stream| control::serve(Arc::clone(&context), stream)) => {}
            () = wait(shared.stop.subscribe()) => {}
        }
    });
    // Dropping the runtime, which the caller does next, ends what is left.
}
