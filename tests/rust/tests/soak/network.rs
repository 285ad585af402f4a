//! The network between the clients and the emulator: a pair of virtual Ethernet
//! devices between two network namespaces, or loopback.
//!
//! The test process runs in a new namespace, and so do the clients that it
//! starts. A sleeping process keeps the emulator's namespace alive. The
//! namespaces have no name and no route to other networks, so the machine's own
//! network is not changed or reached, and the kernel removes them when their
//! last process ends.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Set if the process already runs in its namespace.
const INSIDE: &str = "LAYERFI_SOAK_INSIDE";

const NEAR: &str = "soak0";
const FAR: &str = "soak1";
const NEAR_ADDRESS: &str = "10.83.0.1";
const FAR_ADDRESS: &str = "10.83.0.2";

/// Commands that must work, tried in a temporary namespace.
const TRIAL: &str = "ip link add soak0 type veth peer name soak1 \
    && tc qdisc add dev soak0 root tbf rate 100kbit burst 1600 limit 1600 \
    && unshare --net true && command -v nsenter >/dev/null";

/// One end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The clients' end: if it is down, sending fails.
    Clients,
    /// The emulator's end: if it is down, packets are lost silently.
    Emulator,
}

pub enum Network {
    Loopback { tls: bool },
    Namespaces(Holder),
}

/// Process that keeps the emulator's namespace while no emulator runs. It ends
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
        assert_eq!(here, "here\n", "the emulator's namespace");
        let pid = holder.id();
        let network = Self::Namespaces(Holder(holder));
        network.ip(End::Clients, "link set lo up");
        network.ip(End::Emulator, "link set lo up");
        network.ip(
            End::Clients,
            &format!("link add {NEAR} type veth peer name {FAR} netns {pid}"),
        );
        for (end, device, address) in [
            (End::Clients, NEAR, NEAR_ADDRESS),
            (End::Emulator, FAR, FAR_ADDRESS),
        ] {
            network.ip(end, &format!("addr add {address}/30 dev {device}"));
            network.restore(end);
        }
        network
    }

    /// Whether the link can be cut and can lose packets.
    pub const fn can_be_cut(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Namespaces(_) | Self::Loopback { tls: true })
    }

    /// The address for the emulator to listen on.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Loopback { .. } => [127, 0, 0, 1].into(),
            Self::Namespaces(_) => FAR_ADDRESS.parse().unwrap(),
        }
    }

    /// A command that runs at that end. The started process is the program itself,
    /// not a parent of it.
    pub fn command(&self, end: End, program: &str) -> Command {
        match (self, end) {
            (Self::Namespaces(holder), End::Emulator) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &holder.0.id().to_string(), "--net", program]);
                command
            }
            _ => Command::new(program),
        }
    }

    fn ip(&self, end: End, what: &str) {
        run(self.command(end, "ip").args(split(what))).unwrap();
    }

    fn tc(&self, end: End, what: &str) -> String {
        run(self.command(end, "tc").args(split(what))).unwrap()
    }

    pub fn cut(&self, end: End) {
        self.ip(end, &format!("link set {} down", end.device()));
    }

    pub fn restore(&self, end: End) {
        self.ip(end, &format!("link set {} up", end.device()));
    }

    /// Limits the rate at that end; packets above it are dropped.
    pub fn lose(&self, end: End, kbit: u64) {
        self.tc(
            end,
            &format!(
                "qdisc add dev {} root tbf rate {kbit}kbit burst 3000 limit 3000",
                end.device()
            ),
        );
    }

    /// Removes the limit; returns the number of dropped packets.
    pub fn stop_losing(&self, end: End) -> u64 {
        let device = end.device();
        let queues = self.tc(end, &format!("-s -j qdisc show dev {device}"));
        let queues: serde_json::Value = serde_json::from_str(&queues).unwrap();
        self.tc(end, &format!("qdisc del dev {device} root"));
        queues[0]["drops"].as_u64().unwrap()
    }
}

impl End {
    const fn device(self) -> &'static str {
        match self {
            Self::Clients => NEAR,
            Self::Emulator => FAR,
        }
    }
}
