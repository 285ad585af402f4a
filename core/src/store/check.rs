//! Checks a store for the command `doctor`: connection, rights, latency, clock, memory.

use std::time::{Duration, Instant, SystemTime};

use redis::Value;

use super::redis::{LOOK_UP, RELEASE, RedisStore, is_no_permission, text, unexpected};
use super::{Found, Names, Owner, Published, StoreError, TokenStore as _};
use crate::sys::jitter;

/// How long what the check writes is kept.
const KEEP: Duration = Duration::from_secs(1);

/// Number of look-ups whose median is the latency.
const LOOKS: usize = 5;

/// What a check found. Fields that could not be found out are `None`.
#[derive(Default)]
pub(crate) struct StoreCheck {
    /// Server that was used, or else those of the setting.
    pub(crate) server: String,
    /// Time that the connection took.
    pub(crate) connected_in: Option<Duration>,
    /// Median time of an answer.
    pub(crate) latency: Option<Duration>,
    /// The server's clock minus this machine's, in milliseconds.
    pub(crate) clock_difference_ms: Option<i64>,
    pub(crate) eviction_policy: Option<String>,
    /// In bytes; 0 without a limit.
    pub(crate) max_memory: Option<u64>,
    /// In bytes.
    pub(crate) used_memory: Option<u64>,
    /// Whether the server writes its data to a disk.
    pub(crate) writes_to_disk: Option<bool>,
    /// Such as `redis 7.0.15`.
    pub(crate) version: Option<String>,
    pub(crate) failure: Option<StoreCheckFailure>,
    /// Rights that the user lacks, such as `+pttl`; empty unless something failed.
    pub(crate) missing_rights: Vec<String>,
}

/// Why the store cannot be used.
pub(crate) enum StoreCheckFailure {
    Failed(StoreError),
    /// The server refused to write: it is full, or a replica.
    Refused(StoreError),
}

impl From<StoreError> for StoreCheckFailure {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Checks a store that nobody else uses. What it writes expires within a second.
pub(crate) async fn check(store: &RedisStore, prefix: &str) -> StoreCheck {
    let mut found = StoreCheck {
        server: store.place(),
        ..StoreCheck::default()
    };
    let names = unused_names(prefix);
    let result = look_around(store, &names, &mut found).await;
    found.failure = result.err();
    if found.failure.is_some() && found.connected_in.is_some() {
        let missing = missing_rights(store, &names, prefix).await;
        found.missing_rights = missing.unwrap_or_default();
    }
    found
}

/// Names that no other process uses.
fn unused_names(prefix: &str) -> Names {
    let random = || format!("{:x}", jitter::random().to_bits());
    let tag = format!("doctor-{}{}", random(), random());
    let name = |end| format!("{prefix}:1:{{{tag}}}:{end}");
    Names {
        value: name("v"),
        lease: name("l"),
        note: name("n"),
    }
}

/// Tries each command of the scripts. The first value of the answer is always there. Versions
/// have different texts, which say `run` for a command and `access` for a key.
const RIGHTS: &str = "\
    local missing = {'rights'}
    local function try(command, ...)
      local answer = redis.pcall(command, ...)
      local refused = type(answer) == 'table' and answer.err or ''
      if string.find(refused, 'run th') then
        table.insert(missing, command)
      elseif string.find(refused, 'access') then
        missing[1] = 'keys'
      end
    end
    try('time')
    try('get', ARGV[1])
    try('pttl', ARGV[1])
    try('set', ARGV[1], '', 'PX', 1)
    try('del', ARGV[1])
    return missing";

/// Rights that the user lacks. Without the breaker, which a missing right opens.
async fn missing_rights(
    store: &RedisStore,
    names: &Names,
    prefix: &str,
) -> Result<Vec<String>, StoreError> {
    let mut question = redis::cmd("EVAL");
    question.arg(RIGHTS).arg(0).arg(&names.value);
    match store.command(&question).await? {
        Value::Array(answer) => {
            let mut answer = answer.into_iter().filter_map(text);
            let keys = answer.next().filter(|first| first == "keys");
            let keys = keys.map(|_| format!("~{prefix}:1:*"));
            Ok(keys
                .into_iter()
                .chain(answer.map(|name| format!("+{name}")))
                .collect())
        }
        Value::ServerError(error) if is_no_permission(&error) => Ok(vec!["+eval".to_owned()]),
        _ => Ok(Vec::new()),
    }
}

async fn look_around(
    store: &RedisStore,
    names: &Names,
    found: &mut StoreCheck,
) -> Result<(), StoreCheckFailure> {
    let began = Instant::now();
    found.server = store.connect_now().await?.to_string();
    found.connected_in = Some(began.elapsed());
    if let Ok(info) = store.command(&redis::cmd("INFO")).await {
        read_info(&info, found);
    }
    let mut question = redis::cmd("CONFIG");
    question.arg("GET").arg("save");
    if let Ok(Value::Array(parts)) = store.command(&question).await {
        let has_snapshots =
            matches!(parts.last(), Some(Value::BulkString(text)) if !text.is_empty());
        found.writes_to_disk = Some(has_snapshots || found.writes_to_disk == Some(true));
    }
    measure(store, names, found).await?;
    write(store, names).await
}

/// Latency and clock.
async fn measure(
    store: &RedisStore,
    names: &Names,
    found: &mut StoreCheck,
) -> Result<(), StoreError> {
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let began = Instant::now();
        let look = store
            .look_up(names, b"", &Owner([0; 16]), Duration::ZERO)
            .await?;
        let took = began.elapsed();
        // The server read its clock at some time in between, probably in the middle.
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() - took / 2;
        times.push(took);
        let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let difference = i64::try_from(look.now)
            .unwrap_or(i64::MAX)
            .saturating_sub(wall);
        // The fastest answer says most about the clock.
        if times.iter().min() == Some(&took) {
            found.clock_difference_ms = Some(difference);
        }
    }
    times.sort_unstable();
    found.latency = times.get(LOOKS / 2).copied();
    Ok(())
}

/// All that a fetch does: lease, look-up of another process, publication, note.
async fn write(store: &RedisStore, names: &Names) -> Result<(), StoreCheckFailure> {
    let (own, other) = (Owner([1; 16]), Owner([2; 16]));
    let taken = store.eval(names, LOOK_UP, &[b"", &own.0, b"1000"]).await?;
    let (answer, node) = taken;
    if let Some(error) = answer.refusal(&node) {
        return Err(StoreCheckFailure::Refused(error));
    }
    if answer.state() != "lease" {
        return Err(unexpected(&node).into());
    }
    let held = store.look_up(names, b"", &other, KEEP).await?;
    if !matches!(held.found, Found::Held(_)) {
        return Err(unexpected(&node).into());
    }
    // Not an entry: nothing in it opens.
    let published = store
        .publish(names, &own, b"layerfi-auth doctor", KEEP)
        .await?;
    let seen = store.look_up(names, b"", &other, Duration::ZERO).await?;
    let is_there = matches!(seen.found, Found::Entry(_));
    if published != Published::Stored || !is_there {
        return Err(unexpected(&node).into());
    }
    let released = store
        .eval(names, RELEASE, &[&own.0, b"doctor", b"1000"])
        .await?;
    let (answer, node) = released;
    match answer.refusal(&node) {
        None => Ok(()),
        Some(error) => Err(StoreCheckFailure::Refused(error)),
    }
}

/// Version, memory and persistence, from the answer to `INFO`.
fn read_info(info: &Value, found: &mut StoreCheck) {
    let Value::BulkString(info) = info else {
        return;
    };
    let info = String::from_utf8_lossy(info);
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    // Valkey reports the version of Redis that it is compatible with, too.
    let version = match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => Some(format!("valkey {version}")),
        (None, version) => version.map(|version| format!("redis {version}")),
    };
    found.version = version;
    found.eviction_policy = field("maxmemory_policy").map(str::to_owned);
    let number = |name| field(name).and_then(|bytes| bytes.parse().ok());
    found.max_memory = number("maxmemory");
    found.used_memory = number("used_memory");
    if field("aof_enabled") == Some("1") {
        found.writes_to_disk = Some(true);
    }
}
