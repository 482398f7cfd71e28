//! Header names that mean something to us, in their long and their one-letter form.
//!
//! RFC 3261 §7.3.3 and §20; the registry is IANA's "SIP Parameters: Header Fields".

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $lower:literal $(| $compact:literal)?;)*) => {
        /// A header's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $(
                #[doc = concat!("`", $text, "`")]
                $variant,
            )*
            /// One that we need not act on.
            Other,
        }

        impl Name {
            /// As we write it; empty for [`Name::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            fn of_lower(lower: &[u8]) -> Self {
                match lower {
                    $($lower $(| $compact)? => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            #[cfg(test)]
            const ALL: &[(Self, &'static [u8])] = &[$((Self::$variant, $lower)),*];
        }
    };
}

names! {
    Accept = "Accept", b"accept";
    AcceptContact = "Accept-Contact", b"accept-contact" | b"a";
    AlertInfo = "Alert-Info", b"alert-info";
    Allow = "Allow", b"allow";
    AllowEvents = "Allow-Events", b"allow-events" | b"u";
    Authorization = "Authorization", b"authorization";
    CSeq = "CSeq", b"cseq";
    CallId = "Call-ID", b"call-id" | b"i";
    CallInfo = "Call-Info", b"call-info";
    Contact = "Contact", b"contact" | b"m";
    ContentEncoding = "Content-Encoding", b"content-encoding" | b"e";
    ContentLength = "Content-Length", b"content-length" | b"l";
    ContentType = "Content-Type", b"content-type" | b"c";
    Date = "Date", b"date";
    Event = "Event", b"event" | b"o";
    Expires = "Expires", b"expires";
    From = "From", b"from" | b"f";
    Identity = "Identity", b"identity" | b"y";
    MaxForwards = "Max-Forwards", b"max-forwards";
    MinExpires = "Min-Expires", b"min-expires";
    MinSe = "Min-SE", b"min-se";
    PAssertedIdentity = "P-Asserted-Identity", b"p-asserted-identity";
    Path = "Path", b"path";
    Privacy = "Privacy", b"privacy";
    ProxyAuthenticate = "Proxy-Authenticate", b"proxy-authenticate";
    ProxyAuthorization = "Proxy-Authorization", b"proxy-authorization";
    ProxyRequire = "Proxy-Require", b"proxy-require";
    RAck = "RAck", b"rack";
    RSeq = "RSeq", b"rseq";
    Reason = "Reason", b"reason";
    RecordRoute = "Record-Route", b"record-route";
    ReferTo = "Refer-To", b"refer-to" | b"r";
    ReferredBy = "Referred-By", b"referred-by" | b"b";
    RejectContact = "Reject-Contact", b"reject-contact" | b"j";
    Replaces = "Replaces", b"replaces";
    RequestDisposition = "Request-Disposition", b"request-disposition" | b"d";
    Require = "Require", b"require";
    RetryAfter = "Retry-After", b"retry-after";
    Route = "Route", b"route";
    Server = "Server", b"server";
    SessionExpires = "Session-Expires", b"session-expires" | b"x";
    Subject = "Subject", b"subject" | b"s";
    SubscriptionState = "Subscription-State", b"subscription-state";
    Supported = "Supported", b"supported" | b"k";
    Timestamp = "Timestamp", b"timestamp";
    To = "To", b"to" | b"t";
    Unsupported = "Unsupported", b"unsupported";
    UserAgent = "User-Agent", b"user-agent";
    Via = "Via", b"via" | b"v";
    Warning = "Warning", b"warning";
    WwwAuthenticate = "WWW-Authenticate", b"www-authenticate";
}

/// No known name is longer.
const LONGEST: usize = 20;

impl Name {
    /// The name that `text` means, in any case, long or compact.
    pub fn of(text: &[u8]) -> Self {
        let mut lower = [0; LONGEST];
        let Some(lower) = lower.get_mut(..text.len()) else { return Self::Other };
        lower.copy_from_slice(text);
        lower.make_ascii_lowercase();
        Self::of_lower(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_in_any_case() {
        for (name, lower) in Name::ALL {
            assert!(lower.len() <= LONGEST, "{name:?}");
            assert_eq!(lower.to_ascii_lowercase(), name.as_str().to_ascii_lowercase().as_bytes());
            assert_eq!(Name::of(lower), *name);
            assert_eq!(Name::of(name.as_str().as_bytes()), *name);
            assert_eq!(Name::of(&lower.to_ascii_uppercase()), *name);
        }
    }

    #[test]
    fn compact_forms_mean_their_long_ones() {
        let pairs = [
            (b"v", Name::Via),
            (b"F", Name::From),
            (b"t", Name::To),
            (b"i", Name::CallId),
            (b"m", Name::Contact),
            (b"L", Name::ContentLength),
            (b"c", Name::ContentType),
            (b"k", Name::Supported),
            (b"o", Name::Event),
            (b"r", Name::ReferTo),
            (b"b", Name::ReferredBy),
            (b"x", Name::SessionExpires),
        ];
        for (text, name) in pairs {
            assert_eq!(Name::of(text), name);
        }
    }

    #[test]
    fn unknown_empty_and_endless_names_are_other() {
        for text in [b"".as_slice(), b"z", b"Viaa", b"X-Custom", &[b'a'; 300]] {
            assert_eq!(Name::of(text), Name::Other);
        }
    }
}
