//! What a request asks for: to call, to hang up, to register, or something we never heard of.
//!
//! RFC 3261 §7.1: a method is compared with regard to case; unknown ones are kept as they are.

use std::fmt;

/// Methods that we serve, for the Allow header (RFC 3261 §20.5); MESSAGE within a dialog only.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK, MESSAGE";

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// RFC 3261 §13.
    Invite,
    /// RFC 3261 §13.2.2.4.
    Ack,
    /// RFC 3261 §15.
    Bye,
    /// RFC 3261 §9.
    Cancel,
    /// RFC 3261 §10.
    Register,
    /// RFC 3261 §11.
    Options,
    /// RFC 6086.
    Info,
    /// RFC 3262.
    Prack,
    /// RFC 3311.
    Update,
    /// RFC 3515.
    Refer,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3428.
    Message,
    /// RFC 3903.
    Publish,
    /// Any other, as it came.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// The method of that name.
    pub fn of(text: &'a str) -> Self {
        match text {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "REGISTER" => Self::Register,
            "OPTIONS" => Self::Options,
            "INFO" => Self::Info,
            "PRACK" => Self::Prack,
            "UPDATE" => Self::Update,
            "REFER" => Self::Refer,
            "SUBSCRIBE" => Self::Subscribe,
            "NOTIFY" => Self::Notify,
            "MESSAGE" => Self::Message,
            "PUBLISH" => Self::Publish,
            other => Self::Other(other),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Refer => "REFER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_matters_and_escapes_are_not_read() {
        assert_eq!(Method::of("REGISTER"), Method::Register);
        assert_eq!(Method::of("register"), Method::Other("register"));
        assert_eq!(Method::of("RE%47IST%45R"), Method::Other("RE%47IST%45R"));
    }

    #[test]
    fn every_method_is_written_as_it_is_read() {
        let all = "INVITE ACK BYE CANCEL REGISTER OPTIONS INFO PRACK UPDATE REFER SUBSCRIBE NOTIFY \
                   MESSAGE PUBLISH";
        for text in all.split(' ') {
            assert!(!matches!(Method::of(text), Method::Other(_)), "{text}");
            assert_eq!(Method::of(text).as_str(), text);
        }
    }
}
