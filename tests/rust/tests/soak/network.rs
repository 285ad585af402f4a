//! The network between the clients and the servers, which are the emulator and the
//! store of the shared cache: a pair of virtual Ethernet devices for each server
//! between two network namespaces, or loopback.
//!
//! The test process runs in a new namespace, and so do the clients that it
//! starts. A sleeping process keeps the servers' namespace alive. The
//! namespaces have no name and no route to other networks, so the machine's own
//! network is not changed or reached, and the kernel removes them when their
//! last process ends.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Set if the process already runs in its namespace.
const INSIDE: &str = "LAYERFI_SOAK_INSIDE";

/// Server that has a link of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Emulator,
    Store,
}

impl Server {
    /// Names of the devices, at the clients' end and at the server's.
    const fn devices(self) -> [&'static str; 2] {
        match self {
            Self::Emulator => ["soak0", "soak1"],
            Self::Store => ["soak2", "soak3"],
        }
    }

    const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Emulator => ["10.83.0.1", "10.83.0.2"],
            Self::Store => ["10.83.1.1", "10.83.1.2"],
        }
    }
}

/// Commands that must work, tried in a temporary namespace.
const TRIAL: &str = "ip link add soak0 type veth peer name soak1 \
    && tc qdisc add dev soak0 root tbf rate 100kbit burst 1600 limit 1600 \
    && unshare --net true && command -v nsenter >/dev/null";

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The clients' end: if it is down, sending fails.
    Clients,
    /// The server's end: if it is down, packets are lost silently.
    Server,
}

pub enum Network {
    Loopback { tls: bool },
    Namespaces(Holder),
}

/// Process that keeps the servers' namespace while no server runs. It ends
/// when its standard input is closed, so at the latest with this process.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command and returns its output, or its standard error if it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {}", text(&output.stderr)))
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

impl Network {
    pub const fn loopback() -> Self {
        Self::Loopback { tls: false }
    }

    pub const fn loopback_over_tls() -> Self {
        Self::Loopback { tls: true }
    }

    /// Re-executes this process inside a network namespace and sets up the link
    /// there. Fails if the system allows no namespaces.
    pub fn move_into_namespaces() -> Result<Self, String> {
        if std::env::var_os(INSIDE).is_some() {
            return Ok(Self::between_namespaces());
        }
        let mut why = Vec::new();
        // As root, or as root of a new user namespace.
        for how in [&["--net"][..], &["--user", "--map-root-user", "--net"]] {
            let mut trial = Command::new("unshare");
            trial.args(how).args(["sh", "-c", TRIAL]);
            match run(&mut trial) {
                Ok(_) => {
                    let error = Command::new("unshare")
                        .args(how)
                        .arg(std::env::current_exe().unwrap())
                        .args(std::env::args_os().skip(1))
                        .env(INSIDE, "1")
                        .exec();
                    panic!("unshare: {error}");
                }
                Err(error) => why.push(error),
            }
        }
        Err(why.join("; "))
    }

    fn between_namespaces() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo here && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut here = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut here)
            .unwrap();
        assert_eq!(here, "here\n", "the servers' namespace");
        let pid = holder.id();
        let network = Self::Namespaces(Holder(holder));
        network.ip(End::Clients, "link set lo up");
        network.ip(End::Server, "link set lo up");
        for server in [Server::Emulator, Server::Store] {
            let [near, far] = server.devices();
            network.ip(
                End::Clients,
                &format!("link add {near} type veth peer name {far} netns {pid}"),
            );
            let ends = [End::Clients, End::Server];
            for ((end, device), address) in
                ends.into_iter().zip([near, far]).zip(server.addresses())
            {
                network.ip(end, &format!("addr add {address}/30 dev {device}"));
                network.restore(server, end);
            }
        }
        network
    }

    /// Whether the links can be cut and can lose packets.
    pub const fn can_be_cut(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Namespaces(_) | Self::Loopback { tls: true })
    }

    /// The address for the server to listen on.
    pub fn address(&self, server: Server) -> IpAddr {
        match self {
            Self::Loopback { .. } => [127, 0, 0, 1].into(),
            Self::Namespaces(_) => server.addresses()[1].parse().unwrap(),
        }
    }

    /// A command that runs at that end. The started process is the program itself,
    /// not a parent of it.
    pub fn command(&self, end: End, program: &str) -> Command {
        let mut words = match end {
            End::Clients => Vec::new(),
            End::Server => self.prefix(),
        };
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// The words before a command that runs at the servers' end.
    pub fn prefix(&self) -> Vec<String> {
        match self {
            Self::Loopback { .. } => Vec::new(),
            Self::Namespaces(holder) => {
                ["nsenter", "--target", &holder.0.id().to_string(), "--net"]
                    .map(str::to_owned)
                    .to_vec()
            }
        }
    }

    fn ip(&self, end: End, what: &str) {
        run(self.command(end, "ip").args(split(what))).unwrap();
    }

    fn tc(&self, end: End, what: &str) -> String {
        run(self.command(end, "tc").args(split(what))).unwrap()
    }

    pub fn cut(&self, server: Server, end: End) {
        self.ip(end, &format!("link set {} down", end.device(server)));
    }

    pub fn restore(&self, server: Server, end: End) {
        self.ip(end, &format!("link set {} up", end.device(server)));
    }

    /// Limits the rate of the emulator's link at that end; packets above it are dropped.
    pub fn lose(&self, end: End, kbit: u64) {
        self.tc(
            end,
            &format!(
                "qdisc add dev {} root tbf rate {kbit}kbit burst 3000 limit 3000",
                end.device(Server::Emulator)
            ),
        );
    }

    /// Removes the limit; returns the number of dropped packets.
    pub fn stop_losing(&self, end: End) -> u64 {
        let device = end.device(Server::Emulator);
        let queues = self.tc(end, &format!("-s -j qdisc show dev {device}"));
        let queues: serde_json::Value = serde_json::from_str(&queues).unwrap();
        self.tc(end, &format!("qdisc del dev {device} root"));
        queues[0]["drops"].as_u64().unwrap()
    }
}

impl End {
    const fn device(self, server: Server) -> &'static str {
        let [near, far] = server.devices();
        match self {
            Self::Clients => near,
            Self::Server => far,
        }
    }
}
