//! The page the demo serves: a chat between the original's users, in one file.
//!
//! A browser cannot set the `username` header, so the page carries a token for each user. It is
//! only ever served by the demo, on loopback, to whoever could have signed those tokens anyway.

use bytes::Bytes;

use crate::ids::UserId;

const TEMPLATE: &str = include_str!("web/demo.html");

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Page {
    body: Bytes,
}

impl Page {
    /// The page loads nothing from elsewhere and talks to its own host only.
    pub const CONTENT_SECURITY_POLICY: &'static str = "default-src 'none'; \
        script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /// With a token for each user.
    pub fn with_tokens(tokens: &[(UserId, String)]) -> Self {
        let tokens: serde_json::Map<_, _> =
            tokens.iter().map(|(user, token)| (user.to_string(), token.as_str().into())).collect();
        // `<` cannot end the script element when it is escaped.
        let json = serde_json::Value::Object(tokens).to_string().replace('<', "\\u003c");
        Self { body: TEMPLATE.replace("/*TOKENS*/{}", &json).into() }
    }

    /// Its bytes.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_carries_the_tokens_and_nothing_can_break_out_of_them() {
        let user = UserId::parse("</script>").unwrap();
        let page = Page::with_tokens(&[(user, "t.o.k".into())]);
        let text = String::from_utf8(page.body().to_vec()).unwrap();
        assert!(text.contains(r#"{"\u003c/script>":"t.o.k"}"#));
        assert!(!text.contains("/*TOKENS*/"));
    }
}
