//! The command line: the only place that prints to a terminal.

mod control;
mod demo;
mod doctor;
mod fleet;
#[cfg(test)]
mod manual;
mod table;
mod top;
pub mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing::error;

use crate::{
    config::{
        Loaded, Mistakes, Source,
        settings::{Settings, Telemetry},
    },
    control::client::CallError,
    daemon::{self, DaemonError, Overrides},
    lifecycle::Exit,
    listener::handover::Inherited,
    telemetry::{self, events},
};

/// Makes an EC2 Auto Scaling group its own WebSocket gateway
#[derive(Debug, Parser)]
#[command(name = "wsfleetd", version, max_term_width = 100)]
struct Cli {
    /// Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it
    /// [default: /etc/wsfleetd/wsfleetd.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM
    ///
    /// This is what wsfleetd.service starts.
    Run,
    /// Serve the original application's users on loopback, alone and in memory
    ///
    /// Prints how to connect as each of them. For trying things out, not for a network.
    Demo(demo::Demo),
    /// Check the configuration and say all that is wrong with it
    ///
    /// Reads it as `run` would, and reports every mistake with its key, value, source and remedy.
    CheckConfig {
        /// Print the effective values and where each comes from, secrets hidden
        #[arg(long)]
        print: bool,
    },
    /// Say what is wrong with this instance, and what to do first
    ///
    /// Looks at all that the daemon would use, with the daemon's configuration: Redis and what it
    /// must be like for a fleet, PostgreSQL and its schema, clocks, limits, waits, certificates,
    /// EC2; and at the daemon itself, if one runs here. Changes nothing, and takes some 10 seconds
    /// at most. What cannot be looked at is skipped and says why. Exits with 0 if nothing is wrong,
    /// with 1 if something is, with 78 if the configuration is refused.
    Doctor(doctor::Doctor),
    /// See who is in the fleet, and take out who must not be any more
    #[command(subcommand)]
    Fleet(fleet::Command),
    /// Look after the directory of users
    #[command(subcommand)]
    Users(users::Command),
    #[command(flatten)]
    Control(control::Command),
}

/// Parses the command line, does what it says, and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Once, first: redis-rs and the PostgreSQL client take the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let source = Source::new(cli.config);
    let source = if matches!(cli.command, Command::Run) { source } else { source.by_hand() };
    match cli.command {
        Command::Run => with_settings(&source, |settings| {
            serve(settings, Some(source.clone()), Overrides::default())
        }),
        Command::Demo(demo) => demo.run(),
        Command::CheckConfig { print } => with_config(&source, |loaded| check(&loaded, print)),
        Command::Doctor(doctor) => doctor.run(&source),
        Command::Fleet(command) => with_settings(&source, |settings| {
            finish(block_on(&settings, fleet::run(command, &settings)))
        }),
        Command::Users(command) => with_settings(&source, |settings| {
            finish(block_on(&settings, users::run(command, &settings)))
        }),
        Command::Control(command) => ask_daemon(&source, command),
    }
    .into()
}

/// Asks the daemon that runs. A configuration that is being edited just now, and wrong, keeps no
/// operator from it.
fn ask_daemon(source: &Source, command: control::Command) -> Exit {
    let settings = match source.load() {
        Ok(loaded) => loaded.settings,
        Err(mistakes) => {
            let settings = Settings::default();
            let place = settings.instance.runtime_dir.display();
            eprintln!("{mistakes}\nwsfleetd: looking for the daemon in {place} all the same");
            settings
        }
    };
    let out = &mut std::io::stdout().lock();
    let asked = control::run(command, &settings.instance.runtime_dir, out);
    match block_on(&settings, asked) {
        Err(error) if error.is::<CallError>() => {
            eprintln!("wsfleetd: {error:#}");
            Exit::Unavailable
        }
        done => finish(unless_pipe_is_broken(done)),
    }
}

fn with_settings(source: &Source, act: impl FnOnce(Settings) -> Exit) -> Exit {
    with_config(source, |loaded| act(loaded.settings))
}

fn with_config(source: &Source, act: impl FnOnce(Loaded) -> Exit) -> Exit {
    match source.load() {
        Ok(loaded) => act(loaded),
        Err(mistakes) => reject(&mistakes),
    }
}

/// On a terminal as it is; in the journal as one record with its MESSAGE_ID.
fn reject(mistakes: &Mistakes) -> Exit {
    let log = telemetry::is_under_journald().then(|| telemetry::init(&Telemetry::default()));
    match log {
        Some(Ok(_guard)) => {
            error!(
                message_id = events::CONFIG_REJECTED,
                "the configuration is rejected:\n{mistakes}"
            );
        }
        _ => eprintln!("{mistakes}"),
    }
    Exit::Config
}

fn check(loaded: &Loaded, print: bool) -> Exit {
    if let Err(error) = telemetry::check_level(&loaded.settings.telemetry.level) {
        eprintln!("telemetry.level: {error}");
        return Exit::Config;
    }
    if print {
        for effective in &loaded.effective {
            println!("{effective}");
        }
    }
    Exit::Ok
}

/// Runs the daemon with its own runtime and log; a reload reads `source` again.
fn serve(settings: Settings, source: Option<Source>, overrides: Overrides) -> Exit {
    let inherited = Inherited::take();
    let guard = match telemetry::init(&settings.telemetry) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("cannot log: {error}");
            return Exit::Config;
        }
    };
    let workers = settings.instance.workers;
    let outcome = match runtime(workers) {
        Ok(runtime) => {
            let levels = guard.levels();
            let daemon = daemon::run(settings, source, overrides, levels, inherited);
            let outcome = runtime.block_on(daemon);
            // Signals and watchdog run beside the daemon and are not waited for.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(DaemonError::Setting(format!("instance.workers: {error}"))),
    };
    let exit = outcome.as_ref().err().map_or(Exit::Ok, DaemonError::exit);
    if let Err(problem) = outcome {
        let event = if exit == Exit::Config { events::CONFIG_REJECTED } else { "" };
        error!(message_id = event, "{problem}");
    }
    drop(guard);
    exit
}

fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

fn block_on<T>(
    settings: &Settings,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    runtime(settings.instance.workers)?.block_on(work)
}

/// `connections | head` has read enough; that is no failure.
fn unless_pipe_is_broken(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    outcome.or_else(|error| match error.downcast_ref::<std::io::Error>() {
        Some(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

fn finish(outcome: anyhow::Result<()>) -> Exit {
    match outcome {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("wsfleetd: {error:#}");
            users::exit(&error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_takes_the_configuration() {
        for line in [
            "wsfleetd run --config f",
            "wsfleetd demo --config f",
            "wsfleetd check-config --config f --print",
            "wsfleetd doctor --json --strict --config f",
            "wsfleetd users migrate --config f",
            "wsfleetd users add Sid --config f",
            "wsfleetd users disable Sid --config f",
            "wsfleetd users enable Sid --config f",
            "wsfleetd users remove Sid --config f",
            "wsfleetd users passwd Sid --password-stdin --config f",
            "wsfleetd users show Sid --json --config f",
            "wsfleetd users list --config f",
            "wsfleetd users export --password-hashes --config f",
            "wsfleetd status --config f",
            "wsfleetd connections --user Sid --json --config f",
            "wsfleetd kick Sid --config f",
            "wsfleetd log-level debug --config f",
            "wsfleetd top --once --interval 1s --config f",
        ] {
            let cli =
                Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(cli.config.as_deref(), Some(Path::new("f")), "{line}");
        }
    }
}
