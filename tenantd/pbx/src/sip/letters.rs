//! Which letters may stand where: one look into a table for each.
//!
//! RFC 3261 §25.1 (token, hostname), §19.1.1 (what an address must escape).

/// A class of letters, as a bit of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letters {
    /// What methods, transports and header names are made of.
    Token = 1,
    /// What names of hosts are made of; an underscore is no such letter, but names with one are in
    /// use.
    Host = 2,
    /// What may stand in an address as it is: more than the grammar allows, but nothing that would
    /// end it.
    Address = 4,
    /// Anything but space and what cannot be seen.
    Word = 8,
}

const TABLE: [u8; 256] = table();

/// Whether `text` is made of such letters only; empty text is.
pub(crate) fn only(letters: Letters, text: &[u8]) -> bool {
    text.iter().all(|byte| TABLE[usize::from(*byte)] & letters as u8 != 0)
}

/// Whether `text` is a token: such letters only, and at least one.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && only(Letters::Token, text)
}

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        let mut classes = 0;
        if byte.is_ascii_alphanumeric() {
            classes |= Letters::Token as u8 | Letters::Host as u8;
        }
        if matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            classes |= Letters::Token as u8;
        }
        if matches!(byte, b'.' | b'-' | b'_') {
            classes |= Letters::Host as u8;
        }
        if byte > b' ' && byte != 0x7f {
            classes |= Letters::Word as u8;
            if !matches!(byte, b'<' | b'>' | b'"') {
                classes |= Letters::Address as u8;
            }
        }
        table[byte as usize] = classes;
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_the_grammar_says() {
        let others = (0..=255_u8).filter(|byte| !is_token(&[*byte])).collect::<Vec<_>>();
        assert!(is_token(b"AZaz09-.!%*_+`'~") && !is_token(b""));
        assert_eq!(others.len(), 256 - 62 - 10);
    }

    #[test]
    fn what_would_end_an_address_may_not_stand_in_it() {
        assert!(only(Letters::Address, "sip:*72#;x?/Jürgen@[::1]".as_bytes()));
        for ends in b" \t\r\n\0<>\"\x7f" {
            assert!(!only(Letters::Address, &[*ends]));
        }
        assert!(only(Letters::Word, b"<\">") && !only(Letters::Word, b"a b"));
        assert!(only(Letters::Host, b"a_b-c.test") && !only(Letters::Host, b"a:b"));
    }
}
