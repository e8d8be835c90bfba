//! What happened, one thing at a time: the lines of a recording.
//!
//! The fields are the kernel process's own ([`umach_abi::records::TraceRow`]); times are nanoseconds since the trace began.

use libtask::TraceRecord;
use serde::{Deserialize, Serialize};
use umach_abi::records::trace;
use umach_describe::Description;

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// Who a task is, or is from here on.
    Task(Task),
    /// What a port is called.
    Port { port: u64, name: String },
    /// A message was sent.
    Sent(Box<Sent>),
    /// It was received.
    Received(Fate),
    /// It was given back to its sender, which gave up.
    Returned(Fate),
    /// It was destroyed unreceived.
    Destroyed(Fate),
    /// It repeated what had arrived over a link after all.
    Arrived(Fate),
    /// A task has ended.
    Ended { task: u64, time: u64 },
    /// So many records found no room here.
    Lost { records: u64 },
    /// What a side of a link counted while the trace went on.
    Link(Link),
    /// The description of an interface that tasks of the trace speak. They are numbered from 0 on.
    Interface { description: Box<Description> },
    /// Which of those a task speaks, as its program says.
    Speaks { task: u64, interfaces: Vec<usize> },
    /// Nothing comes after this.
    End { messages: u64, lost: u64 },
}

/// Who a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) task: u64,
    pub(crate) label: String,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) parent: u64,
}

/// A message when it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) time: u64,
    pub(crate) number: u64,
    pub(crate) sender: u64,
    pub(crate) receiver: u64,
    pub(crate) port: u64,
    pub(crate) reply: u64,
    pub(crate) id: i32,
    pub(crate) bytes: u32,
    pub(crate) annex: u32,
    pub(crate) body_bytes: u32,
    pub(crate) flags: u32,
    pub(crate) kobject: u32,
    pub(crate) queued: u32,
    pub(crate) rights_total: u32,
    pub(crate) rights: Vec<Right>,
    #[serde(with = "hex")]
    pub(crate) body: Vec<u8>,
}

/// A right, memory or a file in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Right {
    pub(crate) what: u32,
    pub(crate) port: u64,
    pub(crate) size: u64,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fate {
    pub(crate) time: u64,
    /// 0 if it was sent before the trace began, or came back from a link.
    pub(crate) number: u64,
    pub(crate) sender: u64,
    pub(crate) receiver: u64,
    pub(crate) port: u64,
    pub(crate) id: i32,
    pub(crate) bytes: u32,
}

/// A side of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) link: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) tickets: u64,
}

impl Sent {
    /// The body as far as it was traced, without the length that libtask puts in front of it, and how long it was.
    pub(crate) fn said(&self) -> (&[u8], usize) {
        let whole = self.body_bytes as usize;
        match self.body.split_first_chunk() {
            Some((length, rest)) if (whole.wrapping_sub(4)).wrapping_sub(u32::from_le_bytes(*length) as usize) < 4 => {
                let length = u32::from_le_bytes(*length) as usize;
                (&rest[..rest.len().min(length)], length)
            }
            _ => (&self.body[..], whole),
        }
    }
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Entry {
    /// From what the kernel process told. `None` for what this version does not know. `began`: when the trace did.
    pub(crate) fn from_record(record: TraceRecord, began: u64) -> Option<Entry> {
        let row = record.row;
        let time = row.time.saturating_sub(began);
        let fate =
            || Fate { time, number: row.number, sender: row.sender, receiver: row.receiver, port: row.port, id: row.id, bytes: row.bytes };
        Some(match row.kind {
            trace::TASK => Entry::Task(Task {
                task: row.sender,
                label: String::from_utf8_lossy(&record.body).into_owned(),
                pid: row.id as u32,
                uid: row.bytes,
                parent: row.receiver,
            }),
            trace::SENT => Entry::Sent(Box::new(Sent {
                time,
                number: row.number,
                sender: row.sender,
                receiver: row.receiver,
                port: row.port,
                reply: row.reply,
                id: row.id,
                bytes: row.bytes,
                annex: row.annex,
                body_bytes: row.body,
                flags: row.flags,
                kobject: row.kobject,
                queued: row.queued,
                rights_total: row.rights,
                rights: record.rights.iter().map(|one| Right { what: one.what, port: one.port, size: one.size }).collect(),
                body: record.body,
            })),
            trace::RECEIVED => Entry::Received(fate()),
            trace::RETURNED => Entry::Returned(fate()),
            trace::DESTROYED => Entry::Destroyed(fate()),
            trace::ARRIVED => Entry::Arrived(fate()),
            trace::ENDED => Entry::Ended { task: row.sender, time },
            _ => return None,
        })
    }
}

/// Bytes as hexadecimal digits.
pub(crate) mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// The digits.
    pub(crate) fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(DIGITS[half as usize])).collect()
    }
    /// The bytes, unless these are no pairs of digits.
    pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        if !text.len().is_multiple_of(2) {
            return None;
        }
        text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
    }
    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(bytes))
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        decode(&text).ok_or_else(|| D::Error::custom("bytes are not written as pairs of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_written_is_read_back() {
        let sent = Sent {
            time: 5,
            number: 1,
            sender: 1 << 32,
            receiver: 0,
            port: 7,
            reply: 0,
            id: -3,
            bytes: 28,
            annex: 0,
            body_bytes: 4,
            flags: 1,
            kobject: 0,
            queued: 0,
            rights_total: 1,
            rights: vec![Right { what: 1, port: 9, size: 0 }],
            body: vec![0, 255, 16],
        };
        for entry in [Entry::Sent(Box::new(sent)), Entry::Lost { records: 3 }, Entry::Ended { task: 4, time: 9 }] {
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
        }
        assert_eq!((hex::decode("00ff"), hex::decode("0"), hex::decode("0g")), (Some(vec![0, 255]), None, None));
    }
}
