use super::*;

fn words(order: Order, words: &[u32]) -> Vec<u8> {
    let encode = |w: &u32| match order {
        Order::Little => w.to_le_bytes(),
        Order::Big => w.to_be_bytes(),
    };
    words.iter().flat_map(encode).collect()
}

/// A classic file with one frame of 8 bytes at 100.5 s.
fn classic(order: Order, magic: u32, half_second: u32) -> Vec<u8> {
    let version = match order {
        Order::Little => 2 | 4 << 16,
        Order::Big => 2 << 16 | 4,
    };
    let mut file = words(order, &[magic, version, 0, 0, 65535, 1, 100, half_second, 8, 60]);
    file.extend_from_slice(&[0xa5; 8]);
    file
}

/// A pcapng file with an interface of nanoseconds, one enhanced and one simple packet of 5 bytes.
fn next_generation(order: Order) -> Vec<u8> {
    let version = match order {
        Order::Little => 1,
        Order::Big => 1 << 16,
    };
    let halves = |a: u32, b: u32| match order {
        Order::Little => a | b << 16,
        Order::Big => a << 16 | b,
    };
    let mut file = words(order, &[SECTION, 28, BYTE_ORDER, version, u32::MAX, u32::MAX, 28]);
    file.extend(words(order, &[INTERFACE, 32, halves(1, 0), 0, halves(9, 1)]));
    file.extend_from_slice(&[9, 0, 0, 0]);
    file.extend(words(order, &[0, 32]));
    file.extend(words(order, &[0xbad, 12, 12]));
    let time: u64 = 100_500_000_000;
    file.extend(words(order, &[ENHANCED_PACKET, 40, 0, (time >> 32) as u32, time as u32, 5, 60]));
    file.extend_from_slice(&[1, 2, 3, 4, 5, 0, 0, 0]);
    file.extend(words(order, &[40, SIMPLE_PACKET, 24, 5]));
    file.extend_from_slice(&[6, 7, 8, 9, 10, 0, 0, 0]);
    file.extend(words(order, &[24]));
    file
}

fn all(file: &[u8]) -> Result<Vec<Record>, CaptureError> {
    let mut reader = Reader::new(file)?;
    let (mut records, mut record) = (Vec::new(), Record::default());
    while reader.next(&mut record)? {
        records.push(record.clone());
    }
    Ok(records)
}

#[test]
fn classic_files_read_in_both_orders_and_resolutions() {
    for order in [Order::Little, Order::Big] {
        for (magic, half) in [(MAGIC_MICRO, 500_000), (MAGIC_NANO, 500_000_000)] {
            let records = all(&classic(order, magic, half)).unwrap();
            let time = Duration::from_millis(100_500);
            assert_eq!(records, [Record { time, bytes: vec![0xa5; 8], original_len: 60, link: 1 }]);
        }
    }
}

#[test]
fn pcapng_reads_in_both_orders_and_skips_what_it_does_not_know() {
    for order in [Order::Little, Order::Big] {
        let records = all(&next_generation(order)).unwrap();
        assert_eq!(records.len(), 2, "{order:?}");
        assert_eq!((records[0].time, &records[0].bytes[..]), (Duration::from_millis(100_500), &[1, 2, 3, 4, 5][..]));
        assert_eq!((records[0].original_len, &records[1].bytes[..]), (60, &[6, 7, 8, 9, 10][..]));
    }
}

#[test]
fn frames_are_lent_as_they_are_read_whatever_the_buffer() {
    let mut twice = classic(Order::Big, MAGIC_MICRO, 7);
    twice.extend_from_within(24..);
    for file in [twice, next_generation(Order::Little)] {
        let whole = all(&file).unwrap();
        for (cut, room) in (28..=file.len()).flat_map(|cut| [(cut, 1), (cut, 30), (cut, 1000)]) {
            let mut reader = Reader::new(io::BufReader::with_capacity(room, &file[..cut])).unwrap();
            let (mut lent, mut record) = (Vec::new(), Record::default());
            let take = |record: &Record, bytes: &[u8]| Record { bytes: bytes.to_vec(), ..record.clone() };
            let ended = loop {
                match reader.lend(&mut record, take) {
                    Ok(Some(record)) => lent.push(record),
                    ended => break ended,
                }
            };
            assert_eq!(lent, whole[..lent.len()]);
            assert_eq!(ended.is_ok(), all(&file[..cut]).is_ok_and(|records| records.len() == lent.len()));
        }
    }
}

#[test]
fn frames_to_come_are_shown_once_and_in_order() {
    let one = classic(Order::Little, MAGIC_MICRO, 0);
    let mut file = one.clone();
    for n in 0..9 {
        file.extend_from_slice(&one[24..]);
        file.last_mut().into_iter().for_each(|byte| *byte = n);
    }
    let mut reader = Reader::new(&file[..]).unwrap();
    let (mut shown, mut lent, mut record) = (Vec::new(), Vec::new(), Record::default());
    loop {
        reader.glance(3, |link, bytes| shown.push((link, bytes.to_vec())));
        assert_eq!(shown.len(), (lent.len() + 3).min(10));
        match reader.lend(&mut record, |record, bytes| (record.link, bytes.to_vec())).unwrap() {
            Some(frame) => lent.push(frame),
            None => break,
        }
    }
    assert_eq!((lent.len(), &lent), (10, &shown));
}

#[test]
fn a_file_cut_anywhere_is_truncated_or_ends_between_frames() {
    for file in [classic(Order::Little, MAGIC_NANO, 0), next_generation(Order::Big)] {
        let whole = all(&file).unwrap().len();
        for cut in 0..file.len() {
            match all(&file[..cut]) {
                Ok(records) => assert!(records.len() < whole),
                Err(e) => {
                    assert!(matches!(e.fault, Fault::Truncated | Fault::NotACapture), "{cut}: {e}");
                    assert!(e.offset <= cut as u64);
                }
            }
        }
    }
}

#[test]
fn any_byte_may_be_wrong_without_a_panic() {
    for file in [classic(Order::Big, MAGIC_MICRO, 7), next_generation(Order::Little)] {
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = file.clone();
                bad[at] = value;
                // Right or wrong, an answer; the point is that there is one.
                if let Err(e) = all(&bad) {
                    assert!(e.offset <= bad.len() as u64 + 16, "{e}");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let mut long = classic(Order::Little, MAGIC_MICRO, 0);
    long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(all(&long).unwrap_err().to_string(), "at byte 32: a length of 4294967295 is not possible here");
    let mut wifi = classic(Order::Little, MAGIC_MICRO, 0);
    wifi[20] = 105;
    assert_eq!(all(&wifi).unwrap_err().to_string(), "at byte 20: link type 105 is not Ethernet");
    assert_eq!(all(b"GIF89a").unwrap_err().to_string(), "at byte 0: not a pcap or pcapng file");
}

#[test]
fn odd_resolutions_give_times_without_overflow() {
    assert_eq!(time_of(3 << 20, units_a_second(0x80 | 20)), Duration::from_secs(3));
    assert_eq!(units_a_second(0x7f), u64::MAX);
    assert_eq!(time_of(u64::MAX, 1), Duration::from_secs(u64::MAX));
    assert_eq!(time_of(1, units_a_second(0)), Duration::from_secs(1));
}
