use super::*;

#[test]
fn a_missing_file_is_reported_with_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("lineitem.parquet"), b"x").unwrap();
    let error = LocalFileSystem.open(&directory.path().join("lineitme.parquet")).unwrap_err();
    let shown = directory.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open {shown}/lineitme.parquet: no such file or directory; nearest in {shown}: 'lineitem.parquet'"
        )
    );
    // The wrong part may be a directory further up.
    std::fs::create_dir(directory.path().join("tables")).unwrap();
    let error = LocalFileSystem.open(&directory.path().join("table/part-0/a.parquet")).unwrap_err();
    assert!(error.to_string().ends_with(&format!("; nearest in {shown}: 'tables'")), "{error}");
}

#[test]
#[cfg(unix)]
fn a_link_counts_as_what_it_points_to() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("real")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("real"), directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("nothing"), directory.path().join("lost")).unwrap();
    let entries = LocalFileSystem.list(directory.path()).unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(kinds, [("link", FileKind::Directory), ("lost", FileKind::File), ("real", FileKind::Directory)]);
}
