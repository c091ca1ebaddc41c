//! What a file is, by its first bytes, in the words of `file(1)`: for `filemagic` and `file.magic`.
//!
//! A table of the usual kinds. The first [`HEAD`] bytes are looked at; what they do not tell is text or "data".

/// Bytes that are looked at.
pub const HEAD: usize = 1024;

/// First bytes, and what they mean; the first row that fits counts.
const KINDS: &[(&[u8], &str)] = &[
    (b"%PDF-", "PDF document"),
    (b"\x7fELF\x01\x01", "ELF 32-bit LSB"),
    (b"\x7fELF\x02\x01", "ELF 64-bit LSB"),
    (b"\x7fELF", "ELF"),
    (b"\xcf\xfa\xed\xfe", "Mach-O 64-bit executable"),
    (b"\xce\xfa\xed\xfe", "Mach-O executable"),
    (b"PK\x05\x06", "Zip archive data (empty)"),
    (b"PK\x03\x04", "Zip archive data"),
    (b"Rar!\x1a\x07\x01\x00", "RAR archive data, v5"),
    (b"Rar!", "RAR archive data"),
    (b"7z\xbc\xaf\x27\x1c", "7-zip archive data"),
    (b"\x1f\x8b", "gzip compressed data"),
    (b"BZh", "bzip2 compressed data"),
    (b"\xfd7zXZ\x00", "XZ compressed data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard compressed data"),
    (b"\x04\x22\x4d\x18", "LZ4 compressed data"),
    (b"MSCF", "Microsoft Cabinet archive data"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Composite Document File V2 Document"),
    (b"{\\rtf", "Rich Text Format data"),
    (b"\xff\xd8\xff", "JPEG image data"),
    (b"\x89PNG\r\n\x1a\n", "PNG image data"),
    (b"GIF87a", "GIF image data, version 87a"),
    (b"GIF89a", "GIF image data, version 89a"),
    (b"BM", "PC bitmap"),
    (b"II*\x00", "TIFF image data, little-endian"),
    (b"MM\x00*", "TIFF image data, big-endian"),
    (b"\x00\x00\x01\x00", "MS Windows icon resource"),
    (b"CWS", "Macromedia Flash data (compressed)"),
    (b"FWS", "Macromedia Flash data"),
    (b"ZWS", "Macromedia Flash data (lzma compressed)"),
    (b"\xca\xfe\xba\xbe", "compiled Java class data"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "MS Windows shortcut"),
    (b"ITSF", "MS Windows HtmlHelp Data"),
    (b"SQLite format 3\x00", "SQLite 3.x database"),
    (b"regf", "MS Windows registry file"),
    (b"\x30\x82", "DER Encoded data"),
    (b"ID3", "Audio file with ID3"),
    (b"OggS", "Ogg data"),
    (b"fLaC", "FLAC audio bitstream data"),
    (b"\x1aE\xdf\xa3", "WebM"),
    (b"\x00asm", "WebAssembly (wasm) binary module"),
    (b"!<arch>\ndebian", "Debian binary package"),
    (b"!<arch>", "current ar archive"),
    (b"\xed\xab\xee\xdb", "RPM"),
    (b"%!PS", "PostScript document text"),
    (b"-----BEGIN CERTIFICATE", "PEM certificate"),
    (b"-----BEGIN OPENSSH PRIVATE KEY", "OpenSSH private key"),
    (b"-----BEGIN RSA PRIVATE KEY", "PEM RSA private key"),
    (b"-----BEGIN PGP", "PGP message"),
    (b"#!/bin/bash", "Bourne-Again shell script, ASCII text executable"),
    (b"#!/bin/sh", "POSIX shell script, ASCII text executable"),
    (b"#!/usr/bin/env python", "Python script, ASCII text executable"),
    (b"#!/usr/bin/perl", "Perl script text executable"),
    (b"#!", "script text executable"),
    (b"<?php", "PHP script, ASCII text"),
    (b"\xd4\xc3\xb2\xa1", "pcap capture file, microsecond ts (little-endian)"),
    (b"\x0a\x0d\x0d\x0a", "pcapng capture file"),
];

/// What a file with these first bytes is.
pub fn describe(bytes: &[u8]) -> &'static str {
    let bytes = bytes.get(..HEAD).unwrap_or(bytes);
    if bytes.is_empty() {
        return "empty";
    }
    if bytes.starts_with(b"MZ") {
        return executable(bytes);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return archive(bytes);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "POSIX tar archive";
    }
    if let Some(kind) = contained(bytes) {
        return kind;
    }
    let known = KINDS.iter().find(|(start, _)| bytes.starts_with(start));
    known.map_or_else(|| text(bytes), |(_, kind)| kind)
}

/// Programs for DOS and Windows: the header says where the newer one is.
fn executable(bytes: &[u8]) -> &'static str {
    let half = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u16::from_le_bytes(b));
    let place = bytes.get(0x3c..).and_then(|b| b.first_chunk()).map(|&b| u32::from_le_bytes(b) as usize);
    let Some(pe) = place.filter(|&at| bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PE\0\0"))) else {
        return "MS-DOS executable";
    };
    let library = half(pe + 22).is_some_and(|flags| flags & 0x2000 != 0);
    let wide = half(pe + 24) == Some(0x20b);
    let console = half(pe + 92) == Some(3);
    match (wide, library, console) {
        (false, true, _) => "PE32 executable (DLL) (GUI) Intel 80386, for MS Windows",
        (false, false, true) => "PE32 executable (console) Intel 80386, for MS Windows",
        (false, false, false) => "PE32 executable (GUI) Intel 80386, for MS Windows",
        (true, true, _) => "PE32+ executable (DLL) (GUI) x86-64, for MS Windows",
        (true, false, true) => "PE32+ executable (console) x86-64, for MS Windows",
        (true, false, false) => "PE32+ executable (GUI) x86-64, for MS Windows",
    }
}

/// What is packed as ZIP: its first member tells.
fn archive(bytes: &[u8]) -> &'static str {
    let name = bytes.get(30..).unwrap_or_default();
    let has = |part: &[u8]| memchr::memmem::find(name, part).is_some();
    if name.starts_with(b"META-INF/") {
        "Java archive data (JAR)"
    } else if name.starts_with(b"AndroidManifest.xml") {
        "Android package (APK)"
    } else if name.starts_with(b"mimetypeapplication/vnd.oasis.opendocument") {
        "OpenDocument"
    } else if name.starts_with(b"[Content_Types].xml") || name.starts_with(b"_rels/.rels") {
        match () {
            () if has(b"word/") => "Microsoft Word 2007+",
            () if has(b"xl/") => "Microsoft Excel 2007+",
            () if has(b"ppt/") => "Microsoft PowerPoint 2007+",
            () => "Microsoft OOXML",
        }
    } else {
        "Zip archive data"
    }
}

/// Formats that say what they are behind their first four bytes.
fn contained(bytes: &[u8]) -> Option<&'static str> {
    match (bytes.get(..4)?, bytes.get(4..8)?, bytes.get(8..12)?) {
        (b"RIFF", _, b"WAVE") => Some("RIFF (little-endian) data, WAVE audio"),
        (b"RIFF", _, b"AVI ") => Some("RIFF (little-endian) data, AVI"),
        (b"RIFF", _, b"WEBP") => Some("RIFF (little-endian) data, Web/P image"),
        (_, b"ftyp", _) => Some("ISO Media, MP4"),
        _ => None,
    }
}

/// Text, by its first word that is not white space, or nothing known.
fn text(bytes: &[u8]) -> &'static str {
    let begins = |word: &[u8]| {
        let text = bytes.trim_ascii_start();
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    if begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<script") {
        return "HTML document, ASCII text";
    }
    if begins(b"<?xml") {
        return "XML 1.0 document, ASCII text";
    }
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x0c | 0x1b);
    if bytes.iter().all(plain) {
        return if memchr::memmem::find(bytes, b"\r\n").is_some() {
            "ASCII text, with CRLF line terminators"
        } else {
            "ASCII text"
        };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => "UTF-8 Unicode text",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_kinds_are_told_apart() {
        let mut program = vec![0u8; 0x200];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x80;
        program[0x80..0x84].copy_from_slice(b"PE\0\0");
        assert!(describe(&program).starts_with("PE32 executable (GUI)"));
        program[0x80 + 24..0x80 + 26].copy_from_slice(&0x20bu16.to_le_bytes());
        program[0x80 + 92] = 3;
        assert!(describe(&program).starts_with("PE32+ executable (console)"));
        let mut tar = vec![b'x'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, kind) in [
            (&tar[..], "POSIX tar archive"),
            (b"%PDF-1.4\n", "PDF document"),
            (b"MZ\x90", "MS-DOS executable"),
            (b"RIFF\x00\x00\x00\x00WAVEfmt", "RIFF (little-endian) data, WAVE audio"),
            (b"\n<!DOCTYPE html><html>", "HTML document, ASCII text"),
            (b"plain words\n", "ASCII text"),
            ("größer".as_bytes(), "UTF-8 Unicode text"),
            (b"\x00\x01\x02\x80", "data"),
            (b"", "empty"),
        ] {
            assert_eq!(describe(bytes), kind);
        }
    }

    #[test]
    fn every_row_can_be_met() {
        for (start, kind) in KINDS {
            let found = describe(start);
            assert!(found == *kind || found.contains("archive"), "{kind}: {found}");
        }
    }
}
