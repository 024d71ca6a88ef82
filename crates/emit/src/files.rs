//! Files as data.

/// Paths, relative to the folder of the design, and texts, in the order in which tools should read them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesignFiles {
    files: Vec<(String, String)>,
}

impl DesignFiles {
    /// Adds a file.
    ///
    /// # Panics
    /// If the path is already there: a bug of this crate.
    pub(crate) fn add(&mut self, path: &str, text: impl Into<String>) {
        assert!(self.get(path).is_none(), "file '{path}' is added twice");
        self.files.push((path.to_owned(), text.into()));
    }

    /// Path and text of every file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.iter().find(|(p, _)| *p == path).map(|(_, text)| text)
    }
}

impl<'a> IntoIterator for &'a DesignFiles {
    type Item = &'a (String, String);
    type IntoIter = std::slice::Iter<'a, (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.files.iter()
    }
}
