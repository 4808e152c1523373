//! What every file system must do, run on the real one and on the simulated one.

use super::*;
use crate::local::LocalFileSystem;
use crate::simulated::SimulatedFileSystem;

fn on_each(check: impl Fn(&dyn FileSystem, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&LocalFileSystem, directory.path());
    let simulated = SimulatedFileSystem::without_faults();
    simulated.create_directory_all(Path::new("/work")).unwrap();
    check(&simulated, Path::new("/work"));
    assert_eq!((simulated.handles_open(), simulated.fault_count()), (0, 0));
}

fn write(files: &dyn FileSystem, path: &Path, content: &[u8]) {
    let mut file = files.create(path).unwrap();
    file.write_all(content).unwrap();
    assert_eq!(file.finish().unwrap(), content.len() as u64);
}

fn content(files: &dyn FileSystem, path: &Path) -> Vec<u8> {
    read_file(files, path, u64::MAX).unwrap().to_vec()
}

fn names(files: &dyn FileSystem, path: &Path) -> Vec<String> {
    files.list(path).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn what_is_written_is_read() {
    on_each(|files, root| {
        let path = root.join("a");
        let mut file = files.create_new(&path).unwrap();
        assert_eq!(file.path(), path);
        file.write_all(b"hello ").unwrap();
        file.write_all(b"").unwrap();
        file.write_all(b"world").unwrap();
        assert_eq!(file.position(), 11);
        file.sync().unwrap();
        assert_eq!(file.finish().unwrap(), 11);

        let file = files.open(&path).unwrap();
        assert_eq!((file.size(), file.path()), (11, path.as_path()));
        assert!(file.modified_millis() > 0);
        let mut four = [0; 4];
        file.read_exact_at(6, &mut four).unwrap();
        assert_eq!(&four, b"worl");
        assert_eq!(file.read_at(11, &mut four).unwrap(), 0);
        assert_eq!(file.read_at(9, &mut four).unwrap(), 2);
        assert_eq!(file.read_range(6..11).unwrap(), "world");
        assert_eq!(file.read_range(11..11).unwrap(), "");
        let metadata = files.metadata(&path).unwrap();
        assert_eq!((metadata.kind, metadata.size), (FileKind::File, 11));
    });
}

#[test]
fn reads_past_the_end_say_where_it_is() {
    on_each(|files, root| {
        let path = root.join("a");
        write(files, &path, b"12345");
        let file = files.open(&path).unwrap();
        let error = file.read_exact_at(3, &mut [0; 4]).unwrap_err();
        let shown = path.display();
        assert_eq!(error.to_string(), format!("cannot read 4 bytes at 3 of {shown}: the file ends at 5"));
        let error = file.read_exact_at(90, &mut [0; 4]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read 4 bytes at 90 of {shown}: the file ends at 5"));
        // A length from a damaged file allocates nothing.
        for range in [3..6, 6..7, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
            assert!(matches!(file.read_range(range), Err(IoError::UnexpectedEnd { size: 5, .. })));
        }
        #[expect(clippy::reversed_empty_ranges, reason = "a range from a damaged file may be the wrong way round")]
        let reversed = file.read_range(4..2);
        assert!(matches!(reversed, Err(IoError::UnexpectedEnd { .. })));
        let error = read_file(files, &path, 4).unwrap_err();
        assert!(matches!(error, IoError::System { operation: Operation::Read, .. }), "{error}");
    });
}

#[test]
fn create_empties_append_extends_and_new_refuses() {
    on_each(|files, root| {
        let path = root.join("a");
        write(files, &path, b"first");
        write(files, &path, b"2nd");
        assert_eq!(content(files, &path), b"2nd");
        let mut file = files.append(&path).unwrap();
        assert_eq!(file.position(), 3);
        file.write_all(b" and more").unwrap();
        assert_eq!(file.finish().unwrap(), 12);
        assert_eq!(content(files, &path), b"2nd and more");
        assert!(files.create_new(&path).unwrap_err().is_already_exists());
        assert!(files.create_positioned(&path).unwrap_err().is_already_exists());
        let mut file = files.append(&root.join("b")).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(content(files, &root.join("b")), b"new");
    });
}

#[test]
fn positions_may_be_written_in_any_order() {
    on_each(|files, root| {
        let path = root.join("spill");
        let file = files.create_positioned(&path).unwrap();
        file.write_all_at(8, b"tail").unwrap();
        file.write_all_at(0, b"head").unwrap();
        assert_eq!(file.size().unwrap(), 12);
        let mut all = [1; 12];
        file.read_exact_at(0, &mut all).unwrap();
        assert_eq!(&all, b"head\0\0\0\0tail");
        assert!(matches!(file.read_exact_at(9, &mut [0; 4]), Err(IoError::UnexpectedEnd { size: 12, .. })));
        file.set_size(2).unwrap();
        file.set_size(4).unwrap();
        file.sync().unwrap();
        let mut all = [1; 4];
        file.read_exact_at(0, &mut all).unwrap();
        assert_eq!(&all, b"he\0\0");
        // An open file outlives its name.
        files.remove_file(&path).unwrap();
        file.write_all_at(0, b"still").unwrap();
        let mut all = [0; 5];
        file.read_exact_at(0, &mut all).unwrap();
        assert_eq!((&all, files.exists(&path).unwrap()), (b"still", false));
    });
}

#[test]
fn rename_replaces_in_one_step() {
    on_each(|files, root| {
        let (a, b) = (root.join("a"), root.join("b"));
        write(files, &a, b"new");
        write(files, &b, b"old");
        let reader = files.open(&b).unwrap();
        files.rename(&a, &b).unwrap();
        assert_eq!((names(files, root), content(files, &b)), (vec!["b".to_owned()], b"new".to_vec()));
        assert_eq!(reader.read_range(0..3).unwrap(), "old");
        assert!(files.rename(&a, &b).unwrap_err().is_not_found());
        let error = files.rename(&b, &root.join("nowhere/b")).unwrap_err();
        assert!(error.is_not_found() && error.path().ends_with("nowhere/b"), "{error}");

        files.create_directory_all(&root.join("d/e")).unwrap();
        write(files, &root.join("d/e/f"), b"deep");
        files.rename(&root.join("d"), &root.join("g")).unwrap();
        assert_eq!(content(files, &root.join("g/e/f")), b"deep");
        assert!(!files.exists(&root.join("d")).unwrap());
        assert!(files.rename(&root.join("g"), &root.join("g/e/h")).is_err());
        assert!(matches!(files.rename(&b, &root.join("g")), Err(IoError::WrongKind { .. })));
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    on_each(|files, root| {
        files.create_directory_all(&root.join("x/y/z")).unwrap();
        files.create_directory_all(&root.join("x/y/z")).unwrap();
        write(files, &root.join("x/b"), b"");
        write(files, &root.join("x/a.c"), b"");
        write(files, &root.join("x-ray"), b"");
        assert_eq!(names(files, &root.join("x")), ["a.c", "b", "y"]);
        assert_eq!(names(files, root), ["x", "x-ray"]);
        let entries = files.list(&root.join("x")).unwrap();
        assert_eq!((entries[2].kind, entries[2].path.clone()), (FileKind::Directory, root.join("x/y")));
        assert_eq!(files.metadata(&root.join("x")).unwrap().kind, FileKind::Directory);
        assert!(matches!(files.remove_directory(&root.join("x")), Err(IoError::NotEmpty { .. })));
        files.remove_directory(&root.join("x/y/z")).unwrap();
        files.remove_directory_all(&root.join("x")).unwrap();
        files.remove_directory_all(&root.join("x")).unwrap();
        assert_eq!(names(files, root), ["x-ray"]);
    });
}

#[test]
fn the_wrong_kind_of_path_is_named() {
    on_each(|files, root| {
        files.create_directory_all(&root.join("d")).unwrap();
        write(files, &root.join("f"), b"x");
        let wrong = |error: Option<IoError>| matches!(error, Some(IoError::WrongKind { .. }));
        assert!(wrong(files.open(&root.join("d")).err()));
        assert!(wrong(files.create(&root.join("d")).err()));
        assert!(wrong(files.list(&root.join("f")).err()));
        assert!(wrong(files.create(&root.join("f/below")).err()));
        assert!(wrong(files.remove_directory(&root.join("f")).err()));
        assert!(files.create_directory_all(&root.join("f")).is_err());
        for error in [
            files.open(&root.join("none")).err(),
            files.create(&root.join("none/below")).err(),
            files.list(&root.join("none")).err(),
            files.remove_file(&root.join("none")).err(),
            files.remove_directory(&root.join("none")).err(),
            files.metadata(&root.join("none")).err(),
            files.sync_directory(&root.join("none")).err(),
        ] {
            let error = error.expect("the path does not exist");
            assert!(error.is_not_found() && error.path().starts_with(root), "{error}");
        }
    });
}

#[test]
fn replacing_leaves_no_temporary_file() {
    on_each(|files, root| {
        let path = root.join("meta");
        replace_file(files, &path, b"one").unwrap();
        replace_file(files, &path, b"two").unwrap();
        assert_eq!((names(files, root), content(files, &path)), (vec!["meta".to_owned()], b"two".to_vec()));
    });
}
