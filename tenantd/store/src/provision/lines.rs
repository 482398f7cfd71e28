//! Which line of a file something stands in.

/// Where each line ends. It is found out once: a file has a hundred thousand things, each has a line,
/// and whoever looks one up must not read the file again.
#[derive(Debug)]
pub(super) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { ends: ends.map(|(at, _)| at).collect() }
    }

    /// The line of the byte at this place, counted from 1; behind the end it is the last one.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_many_line_feeds_before_it() {
        for text in ["", "\n", "a", "a\n", "\n\nä\r\nb\n\nc"] {
            let lines = Lines::of(text);
            for at in 0..text.len() + 3 {
                let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
                assert_eq!(lines.line(at), 1 + before, "{text:?} at {at}");
            }
        }
    }
}
