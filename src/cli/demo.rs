//! `wsfleetd demo`: the same daemon on its embedded default, for a first look.
//!
//! Alone, in memory, on loopback, with the original application's users, who say who they are by
//! the header `username` as they always did.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use clap::Args;

use crate::{
    config::settings::{AuthMode, IdentitySource, Settings},
    daemon::{Addresses, Overrides},
    ids::UserId,
    lifecycle::Exit,
    upgrade::auth::token,
    users::{FileDirectory, NewUser},
    web::Page,
};

/// The users of the original's transcript.
pub const USERS: [&str; 5] = ["Sunil", "Elon", "Alok", "Smith", "Sid"];

/// The page's tokens are good for a working day.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Where the demo listens.
#[derive(Debug, Args)]
pub struct Demo {
    /// Port of the page and of `ws://127.0.0.1:PORT/ws`; the next two serve the API and the operator
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65533))]
    port: u16,
}

impl Demo {
    /// Serves until it is interrupted.
    pub fn run(&self) -> Exit {
        let Some(directory) = directory() else { return Exit::Failure };
        let state = match tempfile::tempdir() {
            Ok(state) => state,
            Err(error) => {
                eprintln!("wsfleetd: no place for the demo's token key: {error}");
                return Exit::Failure;
            }
        };
        let overrides = Overrides {
            directory: Some(Arc::new(directory)),
            page: Some(page),
            on_ready: Some(introduce),
        };
        super::serve(self.settings(state.path()), None, overrides)
    }

    fn settings(&self, state: &std::path::Path) -> Settings {
        let at = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, self.port + offset));
        let mut settings = Settings::default();
        (settings.listen.app, settings.listen.api, settings.listen.admin) = (at(0), at(1), at(2));
        settings.auth.modes = vec![AuthMode::Header, AuthMode::Token];
        settings.auth.token_allow_query = true;
        settings.instance.id = "demo".to_owned();
        settings.instance.state_dir = state.to_owned();
        settings.fleet.identity = IdentitySource::Static;
        settings.telemetry.level = "warn".to_owned();
        settings
    }
}

fn directory() -> Option<FileDirectory> {
    let users = USERS.into_iter().filter_map(UserId::parse).map(NewUser::named);
    FileDirectory::with_users(users).inspect_err(|error| eprintln!("wsfleetd: {error}")).ok()
}

fn page(key: &[u8]) -> Page {
    let users = USERS.into_iter().filter_map(UserId::parse);
    let tokens: Vec<_> = users
        .filter_map(|user| token::issue(key, &user, TOKEN_LIFETIME).map(|token| (user, token)))
        .collect();
    Page::with_tokens(&tokens)
}

fn introduce(Addresses { app, api, .. }: Addresses) {
    println!("wsfleetd demo: open http://{app}/ twice, or talk in two terminals:\n");
    for user in USERS {
        println!("  npx wscat -c ws://{app}/Dev -H \"username:{user}\"");
    }
    println!("\nthen type, in one of them:\n");
    println!("  {{\"action\":\"send\", \"to\":\"Sid\", \"message\":\"Hey!!\"}}\n");
    println!("The API listener is ws://{api}/api. Ctrl-C ends the demo.");
}
