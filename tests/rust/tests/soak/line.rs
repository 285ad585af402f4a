//! The line between the clients and the emulator: a pair of virtual Ethernet
//! devices between two network namespaces, or loopback.
//!
//! The test's process goes into a namespace of its own, and so do the clients
//! that it starts; the emulator's is held by a process that sleeps. None of
//! them has a name or a way out: nothing of the machine's network is touched or
//! reached, and the kernel takes all of it away when its last process has gone,
//! however that was.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Says that the process has moved already.
const INSIDE: &str = "LAYERFI_SOAK_INSIDE";

const NEAR: &str = "soak0";
const FAR: &str = "soak1";
const NEAR_ADDRESS: &str = "10.83.0.1";
const FAR_ADDRESS: &str = "10.83.0.2";

/// What must be possible, tried out in a namespace that is gone afterwards.
const REHEARSAL: &str = "ip link add soak0 type veth peer name soak1 \
    && tc qdisc add dev soak0 root tbf rate 100kbit burst 1600 limit 1600 \
    && unshare --net true && command -v nsenter >/dev/null";

/// Which end of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The clients': taken down, there is no way to send at all.
    Near,
    /// The emulator's: taken down, what is sent is lost in silence.
    Far,
}

pub enum Line {
    Loopback { tls: bool },
    Namespaces(Holder),
}

/// Keeps the emulator's namespace while the emulator is dead. Ends with its
/// standard input, so with this process.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end; what it says if it fails is the error.
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

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

impl Line {
    pub const fn loopback() -> Self {
        Self::Loopback { tls: false }
    }

    pub const fn loopback_over_tls() -> Self {
        Self::Loopback { tls: true }
    }

    /// Starts this very process anew inside a network namespace; there, gives
    /// the line. Fails where there is no such thing to be had.
    pub fn move_into_namespaces() -> Result<Self, String> {
        if std::env::var_os(INSIDE).is_some() {
            return Ok(Self::between_namespaces());
        }
        let mut why = Vec::new();
        // As root, or as root of a user namespace.
        for how in [&["--net"][..], &["--user", "--map-root-user", "--net"]] {
            let mut rehearsal = Command::new("unshare");
            rehearsal.args(how).args(["sh", "-c", REHEARSAL]);
            match run(&mut rehearsal) {
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
        let line = Self::Namespaces(Holder(holder));
        line.ip(End::Near, "link set lo up");
        line.ip(End::Far, "link set lo up");
        line.ip(
            End::Near,
            &format!("link add {NEAR} type veth peer name {FAR} netns {pid}"),
        );
        for (end, device, address) in [
            (End::Near, NEAR, NEAR_ADDRESS),
            (End::Far, FAR, FAR_ADDRESS),
        ] {
            line.ip(end, &format!("addr add {address}/30 dev {device}"));
            line.mend(end);
        }
        line
    }

    /// Whether it can be cut.
    pub const fn is_real(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Namespaces(_) | Self::Loopback { tls: true })
    }

    /// Where the emulator is to listen.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Loopback { .. } => [127, 0, 0, 1].into(),
            Self::Namespaces(_) => FAR_ADDRESS.parse().unwrap(),
        }
    }

    /// A command that will run at that end. It is the process that is started,
    /// not a child of it.
    pub fn command(&self, end: End, program: &str) -> Command {
        match (self, end) {
            (Self::Namespaces(holder), End::Far) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &holder.0.id().to_string(), "--net", program]);
                command
            }
            _ => Command::new(program),
        }
    }

    fn ip(&self, end: End, what: &str) {
        run(self.command(end, "ip").args(words(what))).unwrap();
    }

    fn tc(&self, end: End, what: &str) -> String {
        run(self.command(end, "tc").args(words(what))).unwrap()
    }

    pub fn cut(&self, end: End) {
        self.ip(end, &format!("link set {} down", end.device()));
    }

    pub fn mend(&self, end: End) {
        self.ip(end, &format!("link set {} up", end.device()));
    }

    /// From now on that end throws away what does not fit its rate.
    pub fn lose(&self, end: End, kbit: u64) {
        self.tc(
            end,
            &format!(
                "qdisc add dev {} root tbf rate {kbit}kbit burst 3000 limit 3000",
                end.device()
            ),
        );
    }

    /// Ends that; returns how many packets were lost.
    pub fn lose_no_more(&self, end: End) -> u64 {
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
            Self::Near => NEAR,
            Self::Far => FAR,
        }
    }
}
