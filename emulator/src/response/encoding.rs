//! Content encodings of a body. The data is stored, not compressed: a decoder gives
//! the same result, and the emulator needs no compressor.

use bytes::Bytes;

use crate::fault::definition::Encoding;

/// The body in this encoding.
pub(crate) fn encode(body: &[u8], encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Gzip => gzip(body),
        Encoding::Br => brotli(body),
        Encoding::Zstd => zstd(body),
    }
    .into()
}

/// RFC 1952, with stored blocks (RFC 1951 section 3.2.4).
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in body.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    // An empty last block.
    out.extend([1, 0, 0, 255, 255]);
    out.extend(crc32(body).to_le_bytes());
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

/// RFC 7932, with uncompressed meta-blocks (section 9.2).
fn brotli(body: &[u8]) -> Vec<u8> {
    /// The largest meta-block with a length of four nibbles.
    const MAX_BLOCK: usize = 1 << 16;
    let mut out = Vec::new();
    // The first bit of the stream sets the window to 64 KiB.
    let mut bits_before = 1;
    for block in body.chunks(MAX_BLOCK) {
        let length = u32::try_from(block.len() - 1).unwrap_or(0);
        // Three zero bits: not the last block, a length of four nibbles. Then the
        // length, and the bit of an uncompressed block.
        let header = (length | 1 << 16) << (3 + bits_before);
        out.extend(header.to_le_bytes().iter().take(3));
        out.extend(block);
        bits_before = 0;
    }
    // The last block, which is empty.
    out.push(0b11 << bits_before);
    out
}

/// RFC 8878, with raw blocks.
fn zstd(body: &[u8]) -> Vec<u8> {
    const MAX_BLOCK: usize = 128 << 10;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd];
    // A single segment, whose size is in four bytes.
    out.push(0b1010_0000);
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    for block in body.chunks(MAX_BLOCK) {
        let header = u32::try_from(block.len()).unwrap_or(0) << 3;
        out.extend(header.to_le_bytes().iter().take(3));
        out.extend(block);
    }
    // The last block, which is empty.
    out.extend([1, 0, 0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_text_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "wrong CRC-32");
    }
}
