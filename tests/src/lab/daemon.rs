//! The daemon under test and its command line client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Failure, Namespace, Scratch, wait_for};

/// How long the daemon may take to start or to end.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The folder of the built `vswitchd` and `vswitchctl`: `WEIR_BIN_DIR`, or that of the running test.
pub fn binaries() -> Result<&'static Path, Failure> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder);
    }
    let folder = match std::env::var_os("WEIR_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => beside_the_test()?,
    };
    for name in ["vswitchd", "vswitchctl"] {
        if !folder.join(name).exists() {
            let remedy = "cargo build -p vswitchd -p vswitchctl (tests/run does it)";
            return Err(Failure::new(format!("{} is missing: {remedy}", folder.join(name).display())));
        }
    }
    Ok(FOLDER.get_or_init(|| folder))
}

/// `target/PROFILE`, from the test's own path `target/PROFILE/deps/TEST`.
fn beside_the_test() -> Result<PathBuf, Failure> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"));
    folder.map(Path::to_owned).ok_or_else(|| Failure::new("this program is in no folder"))
}

/// A running `vswitchd` with a namespace, a folder and a control socket of its own; ends with its value.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    namespace: Namespace,
    scratch: Scratch,
    quiet: bool,
}

impl Daemon {
    /// Starts it with the desired state `config` (TOML) and waits until it answers. `{dir}` in the text stands for the
    /// daemon's folder.
    pub fn start(config: &str) -> Result<Daemon, Failure> {
        let mut daemon = Daemon::prepare(config)?;
        daemon.run()?;
        Ok(daemon)
    }

    /// Everything but the start: for ports that need the daemon's namespace before.
    pub fn prepare(config: &str) -> Result<Daemon, Failure> {
        let (namespace, scratch) = (Namespace::new("switch")?, Scratch::new("switch")?);
        let config = config.replace("{dir}", &scratch.path().display().to_string());
        std::fs::write(scratch.path().join("weir.toml"), config)?;
        Ok(Daemon { child: None, namespace, scratch, quiet: false })
    }

    /// The desired state that it starts with.
    pub fn config(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(self.path("weir.toml"))?)
    }

    /// Keeps the log to itself when it ends; otherwise the log's end is printed, for the report of a failed test.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// Starts (or starts again) and waits until it answers.
    pub fn run(&mut self) -> Result<(), Failure> {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log"))?;
        let mut command = Command::new(binaries()?.join("vswitchd"));
        command.arg("run").arg("--config").arg(self.path("weir.toml")).arg("--leases").arg(self.path("leases"));
        command.arg("--listen").arg(format!("unix:{}", self.path("control.sock").display()));
        command.arg("--bindings").arg(self.path("bindings"));
        command.arg("--addresses").arg(self.path("addresses")).arg("--flows").arg(self.path("flows"));
        command.arg("--eve").arg(self.path("eve.json"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(self.namespace.spawn(&mut command)?);
        let answered = wait_for("an answer of vswitchd", START_WITHIN, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten();
            ended.is_some().then_some(false).or_else(|| self.try_ctl(&["show"]).ok()?.status.success().then_some(true))
        });
        match answered {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::of("vswitchd ended at its start", self.log_end(20))),
            Err(e) => Err(Failure::of(e, self.log_end(20))),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32, Failure> {
        self.child.as_ref().map(Child::id).ok_or_else(|| Failure::new("vswitchd is not running"))
    }

    /// The namespace it runs in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Runs `vswitchctl` against it.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new(binaries()?.join("vswitchctl"));
        command.arg("--socket").arg(self.path("control.sock")).args(arguments);
        command.output().map_err(|e| Failure::of("vswitchctl", e))
    }

    /// Runs `vswitchctl` against it, which has to succeed, and returns what it printed.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.try_ctl(arguments)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::of(format!("vswitchctl {}", arguments.join(" ")), said));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same with `--json`, read.
    pub fn ctl_json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let text = self.ctl(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|e| Failure::of(format!("output of vswitchctl {}", arguments.join(" ")), e))
    }

    /// Makes `config` the desired state.
    pub fn apply(&self, config: &str) -> Result<String, Failure> {
        let path = self.path("next.toml");
        std::fs::write(&path, config.replace("{dir}", &self.scratch.path().display().to_string()))?;
        self.ctl(&["apply", &path.display().to_string()])
    }

    /// The events in its EVE file so far.
    pub fn events(&self) -> Result<Vec<Value>, Failure> {
        let text = std::fs::read_to_string(self.path("eve.json")).unwrap_or_default();
        // The last line may still be in the writing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).map_err(|e| Failure::of(line, e))).collect()
    }

    /// Waits for an event that `wanted` accepts.
    pub fn wait_event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        let found = wait_for(what, Duration::from_secs(10), || self.events().ok()?.into_iter().find(|e| wanted(e)));
        found.map_err(|e| {
            let seen = self.events().unwrap_or_default();
            let lines: Vec<String> = seen.iter().rev().take(10).map(Value::to_string).collect();
            Failure::new(format!("{e}; the last of {} events:\n{}", seen.len(), lines.join("\n")))
        })
    }

    /// CPU time it has used so far, all threads.
    pub fn cpu_time(&self) -> Result<Duration, Failure> {
        let tasks = format!("/proc/{}/task", self.pid()?);
        let mut total = Duration::ZERO;
        for task in std::fs::read_dir(&tasks).map_err(|e| Failure::of(&tasks, e))? {
            // The first field: nanoseconds on a CPU. A thread that has just ended has no file any more.
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            total += Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0));
        }
        Ok(total)
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.end(Signal::KILL)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.end(Signal::TERM)
    }

    fn end(&mut self, signal: Signal) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill_process(Pid::from_child(&child), signal)?;
        let ended = wait_for("the end of vswitchd", START_WITHIN, || child.try_wait().ok().flatten());
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended.map(drop)
    }

    /// The last lines of its log.
    pub fn log_end(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
        if !self.quiet {
            println!("--- the end of vswitchd's log\n{}", self.log_end(40));
        }
    }
}
