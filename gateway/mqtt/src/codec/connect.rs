//! CONNECT (section 3.1 of both standards), by which the version of a connection is known.

use super::properties::{Value, id, walk};
use super::reader::OVERLONG;
use super::{DecodeError, Frame, PublishProperties, Reader, Version};

/// A client's introduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    /// v3.1.1 Clean Session, v5 Clean Start.
    pub(crate) clean: bool,
    /// 0: none.
    pub(crate) keep_alive_s: u16,
    pub(crate) client_id: &'a str,
    pub(crate) will: Option<Will<'a>>,
    /// v5 only; absent is 0.
    pub(crate) session_expiry_s: u32,
    /// How many QoS 1 deliveries the client takes at a time.
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: Option<u32>,
    /// The highest alias that the client takes.
    pub(crate) topic_alias_maximum: u16,
    pub(crate) problem_information: bool,
    pub(crate) authentication_method: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<Secret<'a>>,
}

/// What must not come into a log: its `Debug` tells nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret<'a>(pub(crate) &'a [u8]);

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What is to be published should the client vanish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// 0 to 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: PublishProperties<'a>,
}

const PROPERTIES: &[u8] = &[
    id::SESSION_EXPIRY,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_PACKET_SIZE,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REQUEST_RESPONSE_INFORMATION,
    id::REQUEST_PROBLEM_INFORMATION,
    id::USER,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
];

/// Decodes the first packet of a connection.
pub(crate) fn decode_connect(frame: Frame, body: &[u8]) -> Result<Connect<'_>, DecodeError> {
    if frame.header >> 4 != 1 {
        return Err(DecodeError::Protocol("the first packet is not CONNECT"));
    }
    if frame.header & 0x0f != 0 {
        return Err(DecodeError::Malformed("reserved flags of CONNECT"));
    }
    let mut reader = Reader::new(body);
    let version = version(&mut reader)?;
    if version == Version::V5 && frame.is_overlong() {
        return Err(OVERLONG);
    }
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let mut connect = Connect {
        version,
        clean: flags & 0x02 != 0,
        keep_alive_s: reader.u16()?,
        client_id: "",
        will: None,
        session_expiry_s: 0,
        receive_maximum: u16::MAX,
        packet_bytes_max: None,
        topic_alias_maximum: 0,
        problem_information: true,
        authentication_method: None,
        user: None,
        password: None,
    };
    if version == Version::V5 {
        read_properties(reader.block()?, &mut connect)?;
    }
    connect.client_id = reader.string()?;
    if flags & 0x04 != 0 {
        let properties = match version {
            Version::V4 => PublishProperties::default(),
            Version::V5 => PublishProperties::of_will(reader.block()?)?,
        };
        let (topic, payload) = (reader.string()?, reader.binary()?);
        connect.will = Some(Will { topic, payload, qos: (flags >> 3) & 3, retain: flags & 0x20 != 0, properties });
    }
    if flags & 0x80 != 0 {
        connect.user = Some(reader.string()?);
    }
    if flags & 0x40 != 0 {
        connect.password = Some(Secret(reader.binary()?));
    }
    reader.finish("bytes after CONNECT")?;
    Ok(connect)
}

fn version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Version::V4),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", level) => Err(DecodeError::Version { name: "MQTT", level }),
        (b"MQIsdp", level) => Err(DecodeError::Version { name: "MQIsdp", level }),
        _ => Err(DecodeError::Malformed("not the protocol name of MQTT")),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    let (will, will_qos, will_retain) = (flags & 0x04 != 0, (flags >> 3) & 3, flags & 0x20 != 0);
    if flags & 1 != 0 {
        return Err(DecodeError::Malformed("reserved flag of CONNECT"));
    }
    if will_qos == 3 || (!will && (will_qos != 0 || will_retain)) {
        return Err(DecodeError::Malformed("will flags of CONNECT"));
    }
    if version == Version::V4 && flags & 0xC0 == 0x40 {
        return Err(DecodeError::Malformed("a password without a user name"));
    }
    Ok(())
}

fn read_properties<'a>(block: Reader<'a>, connect: &mut Connect<'a>) -> Result<(), DecodeError> {
    let mut authentication_data = false;
    walk(block, PROPERTIES, |property| {
        match (property.id, property.value) {
            (id::SESSION_EXPIRY, Value::Long(seconds)) => connect.session_expiry_s = seconds,
            (id::RECEIVE_MAXIMUM, Value::Short(0)) => return Err(DecodeError::Protocol("Receive Maximum 0")),
            (id::RECEIVE_MAXIMUM, Value::Short(count)) => connect.receive_maximum = count,
            (id::MAXIMUM_PACKET_SIZE, Value::Long(0)) => return Err(DecodeError::Protocol("Maximum Packet Size 0")),
            (id::MAXIMUM_PACKET_SIZE, Value::Long(bytes)) => connect.packet_bytes_max = Some(bytes),
            (id::TOPIC_ALIAS_MAXIMUM, Value::Short(count)) => connect.topic_alias_maximum = count,
            (id::REQUEST_PROBLEM_INFORMATION, Value::Byte(flag)) => connect.problem_information = flag == 1,
            (id::AUTHENTICATION_METHOD, Value::Text(method)) => connect.authentication_method = Some(method),
            (id::AUTHENTICATION_DATA, _) => authentication_data = true,
            _ => {}
        }
        Ok(())
    })?;
    if authentication_data && connect.authentication_method.is_none() {
        return Err(DecodeError::Protocol("authentication data without a method"));
    }
    Ok(())
}
