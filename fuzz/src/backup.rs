//! The file of a backup. Its digests are made to fit, so that what is behind them is reached too.

use ring::digest::{Context, SHA256};
use sessions_infra::sled::check_backup;

/// A file is refused with a typed error, or says its own size; a byte more or less and it is refused.
pub fn run(data: &[u8]) {
    let _ = check_backup(data);
    let Some((how, data)) = data.split_first() else { return };
    let mut file = data.to_vec();
    let mended = mend(&mut file, how & 1 == 0);
    let Ok(info) = check_backup(&file[..]) else { return };
    assert!(mended.is_some(), "a digest that nobody made fits");
    assert_eq!(info.bytes, file.len() as u64);
    assert_eq!(check_backup(&file[..]).expect("it did a moment ago"), info);
    file.push(0);
    assert!(check_backup(&file[..]).is_err());
    file.truncate(file.len() - 2);
    assert!(check_backup(&file[..]).is_err());
}

fn mend(file: &mut [u8], mends_header: bool) -> Option<()> {
    if mends_header {
        file.get_mut(..8)?.copy_from_slice(b"SESSBAK\x01");
        let crc = crc32c::crc32c(file.get(..60)?).to_le_bytes();
        file.get_mut(60..64)?.copy_from_slice(&crc);
    }
    let mut whole = Context::new(&SHA256);
    whole.update(file.get(..64)?);
    let mut at = 64;
    while *file.get(at)? == 1 {
        let end = end_of(file, at)?;
        let mut entry = Context::new(&SHA256);
        entry.update(file.get(at..end)?);
        let digest = entry.finish();
        file.get_mut(end..end + 32)?.copy_from_slice(digest.as_ref());
        whole.update(digest.as_ref());
        at = end + 32;
    }
    whole.update(file.get(at + 1..at + 9)?);
    file.get_mut(at + 9..at + 41)?.copy_from_slice(whole.finish().as_ref());
    Some(())
}

/// Where the digest of the entry stands that begins here.
fn end_of(file: &[u8], at: usize) -> Option<usize> {
    let named = u16::from_le_bytes(file.get(at + 1..at + 3)?.try_into().ok()?);
    let mut left = u64::from_le_bytes(file.get(at + 3..at + 11)?.try_into().ok()?);
    let mut end = at + 11 + usize::from(named);
    while left > 0 {
        let run = u32::from_le_bytes(file.get(end..end + 4)?.try_into().ok()?);
        let count = run & !(1 << 31);
        left = left.checked_sub(u64::from(count)).filter(|_| count > 0)?;
        end += 4;
        if run >> 31 == 0 {
            end = end.checked_add(count as usize)?;
        }
    }
    Some(end)
}
