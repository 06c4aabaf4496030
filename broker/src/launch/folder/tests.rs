use super::*;
use nix::unistd::{Gid, Uid, chown};
use std::os::unix::fs::{PermissionsExt, symlink};

const STRANGER: u32 = 61_111;

fn give(path: &Path) {
    chown(path, Some(Uid::from_raw(STRANGER)), Some(Gid::from_raw(STRANGER))).expect("chown");
}

fn refusal(path: &Path) -> String {
    Folder::open(path, None).expect_err("refused").to_string()
}

#[test]
fn folders_of_others_are_refused_to_root() {
    let top = tempfile::tempdir().expect("a folder");
    let folder = top.path().join("a/b");
    let opened = Folder::open_or_create(&folder, None).expect("created");
    assert_eq!(opened.path(), folder);
    assert_eq!(folder.metadata().expect("there").permissions().mode() & 0o777, 0o700);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o770)).expect("chmod");
    assert!(refusal(&folder).contains("chmod go-w"), "{}", refusal(&folder));
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    give(&folder);
    let said = refusal(&folder);
    assert!(said.contains(&format!("{} belongs to uid {STRANGER}", folder.display())), "{said}");
    assert!(Folder::open(&folder, Some(STRANGER)).is_ok(), "on behalf of its owner");
}

#[test]
fn only_links_of_trusted_users_are_followed() {
    let top = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(top.path().join("real")).expect("mkdir");
    let link = top.path().join("link");
    symlink("real/../real", &link).expect("symlink");
    assert_eq!(Folder::open(&link, None).expect("followed").path(), top.path().join("real"));
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &link,
        Some(Uid::from_raw(STRANGER)),
        None,
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .expect("chown");
    assert!(refusal(&link).contains("is a symbolic link of uid"), "{}", refusal(&link));
    assert!(Folder::of_file(&link.join("report")).is_err(), "also on the way to a file");
    symlink("round", top.path().join("round")).expect("symlink");
    assert!(Folder::open(&top.path().join("round"), None).is_err());
}

#[test]
fn entries_are_reached_without_links() {
    let top = tempfile::tempdir().expect("a folder");
    let secret = top.path().join("secret");
    std::fs::write(&secret, "secret").expect("write");
    let folder = Folder::open_or_create(&top.path().join("f"), None).expect("a folder");
    symlink(&secret, top.path().join("f/link")).expect("symlink");
    std::fs::hard_link(&secret, top.path().join("f/hard")).expect("link");
    for name in ["link", "hard"] {
        assert!(folder.open_for(Path::new(name), OFlag::O_WRONLY | OFlag::O_TRUNC, 0).is_err(), "{name}");
        assert!(create_output(&top.path().join("f").join(name)).is_err(), "{name}");
        assert_eq!(folder.read(name, 100), None, "{name}");
    }
    assert!(folder.create("link", 0o600).is_err() && folder.folder("link").is_err());
    assert_eq!(std::fs::read(&secret).expect("read"), b"secret");
    folder.remove_all("link").expect("removed");
    assert!(secret.exists() && folder.entry("link").is_none());
}

#[test]
fn a_folder_that_is_moved_away_stays_the_same() {
    let top = tempfile::tempdir().expect("a folder");
    let folder = Folder::open_or_create(&top.path().join("f"), None).expect("a folder");
    std::fs::rename(top.path().join("f"), top.path().join("g")).expect("rename");
    symlink("/", top.path().join("f")).expect("symlink");
    folder.create_folder("x").expect("created").create("y", 0o600).expect("created");
    assert!(top.path().join("g/x/y").exists());
    assert_eq!(folder.names(10).expect("names"), ["x"]);
}
