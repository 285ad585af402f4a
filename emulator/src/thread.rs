//! Background thread and runtime of an emulator.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::control::context::Control;
use crate::control::service;
use crate::error::EmulatorError;
use crate::server::addresses::Addresses;
use crate::server::{connection, listener, proxy};
use crate::state::shared::State;

/// Background thread of a running emulator. Dropping it stops the emulator: when
/// `drop` returns, all connections are closed and all ports are free.
pub(crate) struct Thread {
    /// `None` only during `drop`.
    running: Option<Running>,
    /// The process that runs the thread. In a forked child the thread does not
    /// exist: joining it would never return, and the waiters of the stop signal
    /// are in memory that may be invalid.
    process_id: u32,
}

struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Thread {
    /// The running thread; `None` in a forked child.
    fn running(&self) -> Option<&Running> {
        self.running
            .as_ref()
            .filter(|_| self.process_id == std::process::id())
    }

    pub(crate) fn stop(&self) {
        if let Some(running) = self.running() {
            running.stop.send_replace(true);
        }
    }

    /// Resolves when a stop is requested; at once in a forked child.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let stop = self.running().map(|running| running.stop.subscribe());
        async move {
            if let Some(stop) = stop {
                wait_for_stop(stop).await;
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
        let in_own_process = self.running().is_some();
        match self.running.take() {
            Some(running) if in_own_process => {
                let _ = running.thread.join();
            }
            running => std::mem::forget(running),
        }
    }
}

async fn wait_for_stop(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Bound listeners.
pub(crate) struct Listeners {
    pub(crate) api: TcpListener,
    pub(crate) control: TcpListener,
    pub(crate) proxy: Option<TcpListener>,
}

/// Starts the thread. When it returns, all ports accept connections.
pub(crate) fn start(
    state: Arc<State>,
    listeners: Listeners,
) -> Result<(Addresses, Thread), EmulatorError> {
    let address = |listener: &TcpListener| listener.local_addr().map_err(EmulatorError::Thread);
    let addresses = Addresses {
        api: address(&listeners.api)?,
        control: address(&listeners.control)?,
        proxy: listeners.proxy.as_ref().map(address).transpose()?,
        tls: state.tls().is_some(),
        proxy_tls: state.config.proxy_tls,
    };
    let stop = watch::Sender::new(false);
    let control_context = Arc::new(Control {
        state,
        addresses,
        stop: stop.clone(),
    });
    // The new thread makes the runtime: if that fails, dropping it here would
    // panic inside a caller's runtime.
    let (started, outcome) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("layerfi-emulator".to_owned())
        // The default follows `RUST_MIN_STACK`, which may be too small.
        .stack_size(2 * 1024 * 1024)
        .spawn(move || {
            let mut runtime = Builder::new_current_thread();
            match runtime.enable_io().enable_time().build() {
                Ok(runtime) => run(&runtime, &control_context, listeners, &started),
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })
        .map_err(EmulatorError::Thread)?;
    match outcome.recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(EmulatorError::Thread(error)),
        Err(_) => return Err(EmulatorError::Thread(std::io::ErrorKind::Other.into())),
    }
    let thread = Thread {
        running: Some(Running { stop, thread }),
        process_id: std::process::id(),
    };
    Ok((addresses, thread))
}

fn run(
    runtime: &Runtime,
    context: &Arc<Control>,
    listeners: Listeners,
    started: &mpsc::SyncSender<std::io::Result<()>>,
) {
    runtime.block_on(async {
        let listen = tokio::net::TcpListener::from_std;
        let registered = || {
            Ok((
                listen(listeners.api)?,
                listen(listeners.control)?,
                listeners.proxy.map(listen).transpose()?,
            ))
        };
        let (api, control, proxy) = match registered() {
            Ok(registered) => registered,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(()));
        let serve_api = |stream| connection::serve(Arc::clone(&context.state), stream);
        let serve_proxy = |stream| proxy::serve(Arc::clone(&context.state), stream);
        let accept_proxy = async {
            match proxy {
                Some(proxy) => listener::accept(proxy, serve_proxy).await,
                None => std::future::pending().await,
            }
        };
        let serve_control = |stream| service::serve(Arc::clone(context), stream);
        tokio::select! {
            () = listener::accept(api, serve_api) => {}
            () = listener::accept(control, serve_control) => {}
            () = accept_proxy => {}
            () = wait_for_stop(context.stop.subscribe()) => {}
        }
    });
    // The caller drops the runtime, which ends all connections.
}
