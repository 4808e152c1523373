//! Where results go: standard output, or a file that is there whole or not at all.
//!
//! A file is written beside its place under another name and takes its place in one step when it is complete, so that a
//! reader never sees half of it. It holds the results of statements that ended well: what a failing one had written is
//! taken back. What is neither a file nor missing (a pipe, a device) is written to as it comes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Format, Pager};

/// Takes results, one after another.
pub(crate) struct Destination {
    sink: Sink,
    /// Results that are in it.
    results: usize,
    /// What the result of now goes through on its way to the terminal.
    pager: Option<Pager>,
}

enum Sink {
    /// Not locked: the rows of a `print` table go there, too, from the threads of its tasks.
    Standard(BufWriter<io::Stdout>),
    Device(BufWriter<File>),
    File(Replacement),
}

/// A file to be.
struct Replacement {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
    /// Bytes of results that ended well.
    kept: u64,
}

impl Destination {
    /// Standard output.
    pub(crate) fn standard() -> Self {
        Self { sink: Sink::Standard(BufWriter::new(io::stdout())), results: 0, pager: None }
    }

    /// A file; `-` is standard output.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::standard());
        }
        // Through a symbolic link, the file behind it is replaced.
        let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let found = std::fs::metadata(&place).ok();
        if found.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            let device = OpenOptions::new().write(true).open(&place)?;
            return Ok(Self { sink: Sink::Device(BufWriter::new(device)), results: 0, pager: None });
        }
        let directory = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".flumen-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As other files are made: what the process's mask leaves of it.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(directory)?;
        if let Some(found) = found {
            file.as_file().set_permissions(found.permissions())?;
        }
        let replacement = Replacement { file: BufWriter::new(file), path: place, kept: 0 };
        Ok(Self { sink: Sink::File(replacement), results: 0, pager: None })
    }

    /// Whether people read it as it is written.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.sink, Sink::Standard(_)) && io::stdout().is_terminal()
    }

    /// Whether it is standard output.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self.sink, Sink::Standard(_))
    }

    /// From now on the terminal is written to in pages.
    pub(crate) fn begin_pages(&mut self, pager: Pager) {
        self.pager = Some(pager);
    }

    /// Whether pages are on the terminal now.
    pub(crate) fn shows_pages(&self) -> bool {
        self.pager.as_ref().is_some_and(Pager::has_terminal)
    }

    /// Whether somebody left the pages before their end.
    pub(crate) fn were_pages_left(&self) -> bool {
        self.pager.as_ref().is_some_and(Pager::was_left)
    }

    /// Waits until the pages have been looked at, if there are any.
    ///
    /// # Errors
    /// If the terminal cannot be written to.
    pub(crate) fn end_pages(&mut self) -> io::Result<()> {
        self.pager.take().map_or(Ok(()), Pager::finish)
    }

    /// Why a result in this format cannot go there, if so.
    pub(crate) fn refuses(&self, format: Format) -> Option<String> {
        if !format.is_binary() {
            return None;
        }
        let name = format.name();
        if self.is_terminal() {
            return Some(format!("{name} is not for a terminal; write it to a file with -o, or redirect it"));
        }
        (self.results > 0).then(|| {
            format!(
                "a file in the format {name} holds one result, and this would be the second; run its statement alone"
            )
        })
    }

    /// What has been written since the last call ended well.
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        self.flush()?;
        self.results += 1;
        if let Sink::File(to) = &mut self.sink {
            to.kept = to.file.get_mut().as_file_mut().stream_position()?;
        }
        Ok(())
    }

    /// What has been written since [`Destination::keep`] did not end well, and goes where that is possible.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Sink::File(to) = &mut self.sink {
            let file = to.file.get_mut().as_file_mut();
            file.set_len(to.kept)?;
            file.seek(SeekFrom::Start(to.kept))?;
        }
        Ok(())
    }

    /// Puts a file in its place.
    ///
    /// # Errors
    /// If it cannot be; what was there before is still there.
    pub(crate) fn complete(mut self) -> io::Result<()> {
        self.flush()?;
        if let Sink::File(to) = self.sink {
            let file = to.file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&to.path).map_err(|error| error.error)?;
        }
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(pager) = &mut self.pager {
            return pager.write(bytes);
        }
        match &mut self.sink {
            Sink::Standard(out) => out.write(bytes),
            Sink::Device(out) => out.write(bytes),
            Sink::File(to) => to.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(pager) = &mut self.pager {
            return pager.flush();
        }
        match &mut self.sink {
            Sink::Standard(out) => out.flush(),
            Sink::Device(out) => out.flush(),
            Sink::File(to) => to.file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_its_place_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.csv");
        std::fs::write(&path, "before").unwrap();
        let mut to = Destination::file(&path).unwrap();
        to.write_all(b"first\n").unwrap();
        to.keep().unwrap();
        to.write_all(b"half of the sec").unwrap();
        to.take_back().unwrap();
        to.write_all(b"third\n").unwrap();
        to.keep().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        to.complete().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nthird\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut to = Destination::file(&directory.path().join("rows.csv")).unwrap();
        to.write_all(b"rows").unwrap();
        drop(to);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_a_link_is_followed() {
        let mut to = Destination::file(Path::new("/dev/null")).unwrap();
        to.write_all(b"rows").unwrap();
        to.complete().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());

        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file.csv"), directory.path().join("link.csv"));
        std::fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut to = Destination::file(&link).unwrap();
        to.write_all(b"after").unwrap();
        to.complete().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
    }

    #[test]
    fn binary_files_hold_one_result() {
        let directory = tempfile::tempdir().unwrap();
        let mut to = Destination::file(&directory.path().join("rows.parquet")).unwrap();
        assert_eq!(to.refuses(Format::Parquet), None);
        to.keep().unwrap();
        assert!(to.refuses(Format::Parquet).is_some_and(|why| why.contains("one result")));
        assert_eq!(to.refuses(Format::Csv), None);
    }
}
