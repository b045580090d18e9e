//! What a newcomer sees of `wsfleetd demo`.

use crate::support::{browser::Browser, demo::Demo};

#[test]
#[ignore = "long: needs Chromium, which tests/run --all installs"]
fn two_browser_windows_talk_as_two_users() {
    let demo = Demo::start();
    let (page, browser) = (format!("http://{}/", demo.app()), Browser::start());
    let (sunil, sid) = (browser.open(&page), browser.open(&page));
    for (window, name) in [(&sunil, "Sunil"), (&sid, "Sid")] {
        assert_eq!(window.texts("h1"), ["wsfleetd demo"]);
        assert_eq!(window.texts("#me option"), ["Sunil", "Elon", "Alok", "Smith", "Sid"]);
        window.choose("me", name);
        window.press("connect");
        window.reads("#state", &format!("connected as {name}"));
    }

    sunil.choose("to", "Sid");
    sunil.press("send");
    sid.reads("#log .got", "to Sid\n\"Hey!!\"");
    sid.choose("to", "Sunil");
    sid.type_into("text", "Grüß dich, <b>Sunil</b>");
    sid.press("send");
    sunil.reads(
        "#log .got",
        r#"to Sunil
"Gr\u00fc\u00df dich, <b>Sunil</b>""#,
    );
    assert_eq!(sid.texts("#log .sent"), ["to Sunil\nGrüß dich, <b>Sunil</b>"]);

    let picture = tempfile::Builder::new().prefix("wsfleetd-demo-").suffix(".png").tempfile();
    let picture = picture.expect("a temporary file").into_temp_path();
    sunil.photograph(&picture);
    let png = std::fs::read(&picture).expect("the screenshot");
    assert!(png.starts_with(b"\x89PNG"), "{} bytes", png.len());
    if let Ok(keep) = std::env::var("WSFLEETD_SCREENSHOT") {
        std::fs::copy(&picture, keep).expect("copy the screenshot");
    }

    drop(demo);
    sunil.reads("#state", "not connected");
}
