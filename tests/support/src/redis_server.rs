//! Real Redis and Valkey servers: each on a free port of loopback and in an empty folder.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{MAX_WAIT, ReservedPort, Watchdog};

/// How long a server may run, in case that its test hangs.
const MAX_LIFE: Duration = Duration::from_secs(600);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Redis,
    Valkey,
}

impl ServerKind {
    pub const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    /// The path of the program. A missing one fails the test: `scripts/redis-server` says
    /// what to install.
    fn program(self) -> PathBuf {
        let kind = match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let script = root.unwrap().join("scripts/redis-server");
        let found = Command::new(script)
            .args(["--kind", kind])
            .output()
            .unwrap();
        assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        );
        String::from_utf8(found.stdout).unwrap().trim().into()
    }
}

/// Settings of a server that is not started yet.
pub struct RedisServerBuilder {
    kind: ServerKind,
    port: Option<u16>,
    is_sentinel: bool,
    uses_tls: bool,
    requires_client_certificate: bool,
    /// Folder with the certificate of another server.
    certificate_of: Option<PathBuf>,
    options: Vec<(String, String)>,
    password: Option<String>,
    address: IpAddr,
    prefix: Vec<String>,
    /// Also while the server is killed, so that it can be restarted.
    reserved: Vec<ReservedPort>,
}

impl RedisServerBuilder {
    /// Listens at this address, and runs through a command that does not change the
    /// process id, such as `nsenter`.
    pub fn elsewhere(mut self, address: IpAddr, prefix: Vec<String>) -> Self {
        self.address = address;
        self.prefix = prefix;
        self
    }

    /// Sets a setting of `redis.conf`, such as `maxmemory` to `1`. Several values are
    /// parted by blanks.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Requires a password, which [`RedisServer::command`] uses too.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.option("requirepass", password)
    }

    /// Makes it a replica of another server.
    pub fn replica_of(self, master: &RedisServer) -> Self {
        self.option("replicaof", &format!("127.0.0.1 {}", master.port))
    }

    /// Makes it a node of a cluster, with no slots yet.
    pub fn cluster(mut self) -> Self {
        let bus = self.reserve_port().to_string();
        self.option("cluster-enabled", "yes")
            .option("cluster-port", &bus)
    }

    /// Makes it a Sentinel that watches `master` as `service`; it alone decides.
    pub fn sentinel(mut self, master: &RedisServer, service: &str) -> Self {
        self.is_sentinel = true;
        let port = master.port;
        let mut with = self.option("sentinel monitor", &format!("{service} 127.0.0.1 {port} 1"));
        if let Some(password) = &master.settings.password {
            let auth = format!("{service} {password}");
            with = with.option("sentinel auth-pass", &auth);
        }
        with.option(
            "sentinel down-after-milliseconds",
            &format!("{service} 1000"),
        )
        .option("sentinel failover-timeout", &format!("{service} 10000"))
    }

    /// Accepts only TLS, with a certificate for 127.0.0.1 and localhost of an authority of
    /// its own: [`RedisServer::ca_pem`].
    pub fn tls(mut self) -> Self {
        self.uses_tls = true;
        self
    }

    /// The same with the certificate of another server, which must outlive the start.
    pub fn tls_as(mut self, other: &RedisServer) -> Self {
        self.certificate_of = Some(other.folder.clone());
        self.tls()
    }

    /// Accepts only clients with a certificate.
    pub fn require_client_certificate(mut self) -> Self {
        self.requires_client_certificate = true;
        self
    }

    /// Uses this port and not a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    fn reserve_port(&mut self) -> u16 {
        let port = ReservedPort::new();
        let number = port.address().port();
        self.reserved.push(port);
        number
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn start(self) -> RedisServer {
        match self.try_start() {
            Ok(server) => server,
            Err(why) => panic!("{why}"),
        }
    }

    /// Starts it, and waits until it answers. Fails if its port is taken.
    pub fn try_start(mut self) -> Result<RedisServer, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("layerfi-redis-{}-{number}", std::process::id());
        // A short path, because that of a socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir(&folder).map_err(|why| format!("cannot make {folder:?}: {why}"))?;
        let port = match self.port {
            Some(port) => port,
            None => self.reserve_port(),
        };
        let plain_port = self.reserve_port();
        let mut server = RedisServer {
            settings: self,
            port,
            folder,
            plain_port,
            ca_pem: String::new(),
            running: None,
        };
        if server.settings.uses_tls {
            server.make_certificate();
        }
        server.launch()?;
        Ok(server)
    }
}

/// Server that runs until it is dropped.
pub struct RedisServer {
    settings: RedisServerBuilder,
    port: u16,
    /// Port for commands of the test to a Sentinel with TLS.
    plain_port: u16,
    folder: PathBuf,
    ca_pem: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    _watchdog: Watchdog,
}

/// Answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Text or bytes.
    Text(Vec<u8>),
    Number(i64),
    Nil,
    List(Vec<Reply>),
    Error(String),
}

impl Reply {
    /// The text; panics for any other answer.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("the server answered {other:?}, not a text"),
        }
    }
}

impl Reply {
    /// Whether a list of names and values, such as that of `SENTINEL MASTER`, has this
    /// value.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let Self::List(parts) = self else {
            return false;
        };
        let is = |part: &Self, text: &str| *part == Self::Text(text.as_bytes().to_vec());
        let mut pairs = parts.chunks_exact(2);
        pairs.any(|pair| is(&pair[0], name) && is(&pair[1], value))
    }
}

impl RedisServer {
    /// A Redis server with default settings.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder(ServerKind::Redis).start()
    }

    pub fn builder(kind: ServerKind) -> RedisServerBuilder {
        RedisServerBuilder {
            kind,
            port: None,
            is_sentinel: false,
            uses_tls: false,
            requires_client_certificate: false,
            certificate_of: None,
            options: Vec::new(),
            password: None,
            address: [127, 0, 0, 1].into(),
            prefix: Vec::new(),
            reserved: Vec::new(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.settings.address, self.port)
    }

    /// URL for the setting `shared_cache`, without a password.
    pub fn url(&self) -> String {
        let scheme = if self.settings.uses_tls {
            "rediss"
        } else {
            "redis"
        };
        format!("{scheme}://{}", self.address())
    }

    /// Path of its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Its folder, which has its log in the file `log`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Certificate of its authority, as PEM text; empty without TLS.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Process id. Panics if it does not run.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running
            .as_ref()
            .expect("the server was killed")
            .child
            .id()
    }

    /// Stops the process without ending it: it accepts connections, and never answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(
            sent.unwrap().success(),
            "cannot send SIG{signal} to the server"
        );
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with what its folder contains.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Sends a command over a new connection, and returns the answer.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Reply {
        let arguments: Vec<_> = arguments.iter().map(|text| text.as_bytes()).collect();
        self.command_bytes(&arguments)
    }

    /// The same with arguments that are no text.
    #[track_caller]
    pub fn command_bytes(&self, arguments: &[&[u8]]) -> Reply {
        self.try_command(arguments)
            .unwrap_or_else(|why| panic!("no answer from the server: {why}"))
    }

    fn try_command(&self, arguments: &[&[u8]]) -> std::io::Result<Reply> {
        // Also if it accepts only TLS. A Sentinel has no other socket.
        if self.settings.is_sentinel {
            let port = self.plain_port();
            let stream = TcpStream::connect((self.settings.address, port))?;
            stream.set_read_timeout(Some(MAX_WAIT))?;
            return self.converse(stream, arguments);
        }
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(MAX_WAIT))?;
        self.converse(stream, arguments)
    }

    fn plain_port(&self) -> u16 {
        match (self.settings.uses_tls, self.settings.is_sentinel) {
            (false, _) => self.port,
            (true, true) => self.plain_port,
            (true, false) => 0,
        }
    }

    fn converse(&self, stream: impl Read + Write, arguments: &[&[u8]]) -> std::io::Result<Reply> {
        let mut stream = BufReader::new(stream);
        if let Some(password) = &self.settings.password {
            send(stream.get_mut(), &[b"AUTH", password.as_bytes()])?;
            receive(&mut stream)?;
        }
        send(stream.get_mut(), arguments)?;
        receive(&mut stream)
    }

    /// A field of `INFO`, such as `connected_clients`.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let info = self.command(&["INFO"]).text();
        info_field(&info, field).unwrap_or_else(|| panic!("INFO has no field {field}"))
    }

    /// Makes an authority and a certificate, and writes `certificate` and `key`.
    fn make_certificate(&mut self) {
        if let Some(other) = &self.settings.certificate_of {
            for name in ["certificate", "key", "authority"] {
                std::fs::copy(other.join(name), self.folder.join(name)).unwrap();
            }
            self.ca_pem = std::fs::read_to_string(other.join("authority")).unwrap();
            return;
        }
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "layerfi-auth test authority of Redis");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        self.ca_pem = authority.pem();
        std::fs::write(self.folder.join("authority"), &self.ca_pem).unwrap();
        std::fs::write(self.folder.join("certificate"), certificate.pem()).unwrap();
        std::fs::write(self.folder.join("key"), key.serialize_pem()).unwrap();
    }

    fn launch(&mut self) -> Result<(), String> {
        let settings = &self.settings;
        let plain = self.plain_port();
        let mut lines = vec![
            format!("bind {}", settings.address),
            format!("port {plain}"),
            format!("dir {}", self.folder.display()),
            "daemonize no".to_owned(),
        ];
        if !settings.is_sentinel {
            lines.push(format!("unixsocket {}", self.socket().display()));
            lines.push("save \"\"".to_owned());
            if settings.kind == ServerKind::Redis {
                lines.push("enable-debug-command local".to_owned());
            }
        }
        if settings.uses_tls {
            lines.push(format!("tls-port {}", self.port));
            lines.push("tls-cert-file certificate".to_owned());
            lines.push("tls-key-file key".to_owned());
            lines.push("tls-ca-cert-file authority".to_owned());
            lines.push("tls-replication yes".to_owned());
            let required = match settings.requires_client_certificate {
                true => "yes",
                false => "no",
            };
            lines.push(format!("tls-auth-clients {required}"));
        }
        for (name, value) in &settings.options {
            lines.push(format!("{name} {value}"));
        }
        let config = self.folder.join("config");
        // A Sentinel writes into it, and keeps that when it is restarted.
        if !(settings.is_sentinel && config.exists()) {
            std::fs::write(&config, lines.join("\n") + "\n").unwrap();
        }
        let log = self.folder.join("log");
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let program = settings.kind.program();
        let mut command = match settings.prefix.split_first() {
            None => Command::new(program),
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
        };
        command.arg(&config);
        if settings.is_sentinel {
            command.arg("--sentinel");
        }
        let mut child = command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().unwrap())
            .stderr(log_file)
            .spawn()
            .map_err(|why| format!("cannot start the server: {why}"))?;
        let pid = child.id();
        let started = Instant::now();
        let problem = loop {
            if let Ok(Some(status)) = child.try_wait() {
                break Some(format!("it ended with {status}"));
            }
            if let Ok(Reply::Text(info)) = self.try_command(&[b"INFO", b"server"]) {
                let info = String::from_utf8_lossy(&info).into_owned();
                let answering = info_field(&info, "process_id");
                if answering == Some(pid.to_string()) {
                    break None;
                }
                break Some(format!("process {answering:?} answered, not {pid}"));
            }
            if started.elapsed() > MAX_WAIT {
                break Some(format!("it did not answer within {MAX_WAIT:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if let Some(problem) = problem {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(3).collect();
            let port = self.port;
            return Err(format!(
                "the server for port {port} did not start: {problem}. The end of its log: {lines:?}"
            ));
        }
        self.running = Some(Running {
            child,
            _watchdog: Watchdog::new(pid, MAX_LIFE),
        });
        Ok(())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn info_field(info: &str, field: &str) -> Option<String> {
    let mut lines = info.lines();
    lines.find_map(|line| {
        let value = line.strip_prefix(field)?.strip_prefix(':')?;
        Some(value.trim().to_owned())
    })
}

fn send(stream: &mut impl Write, arguments: &[&[u8]]) -> std::io::Result<()> {
    let mut text = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        text.extend(format!("${}\r\n", argument.len()).bytes());
        text.extend_from_slice(argument);
        text.extend_from_slice(b"\r\n");
    }
    stream.write_all(&text)
}

fn receive(stream: &mut impl std::io::BufRead) -> std::io::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end_matches("\r\n");
    let invalid = || std::io::Error::other("the answer is not that of a Redis server");
    let rest = line.get(1..).ok_or_else(invalid)?;
    let number = || rest.parse::<i64>().map_err(|_| invalid());
    Ok(match line.as_bytes()[0] {
        b'+' => Reply::Text(rest.as_bytes().to_vec()),
        b'-' => Reply::Error(rest.to_owned()),
        b':' => Reply::Number(number()?),
        b'$' => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut text = vec![0; length + 2];
                stream.read_exact(&mut text)?;
                text.truncate(length);
                Reply::Text(text)
            }
        },
        b'*' => match number()? {
            -1 => Reply::Nil,
            length => Reply::List(
                (0..length)
                    .map(|_| receive(stream))
                    .collect::<Result<_, _>>()?,
            ),
        },
        _ => return Err(invalid()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_that_was_started_answers_and_a_taken_port_is_refused() {
        for kind in ServerKind::ALL {
            let mut server = RedisServer::builder(kind).start();
            assert_eq!(server.command(&["SET", "a", "b"]).text(), "OK");
            let other = RedisServer::builder(kind).port(server.port()).try_start();
            let why = other.err().expect("the port was used twice");
            assert!(why.contains("did not start"), "{why}");
            server.restart();
            assert_eq!(server.command(&["GET", "a"]), Reply::Nil);
            let folder = server.folder().to_owned();
            drop(server);
            assert!(!folder.exists(), "{folder:?} was left");
        }
    }
}
