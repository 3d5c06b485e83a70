//! What a failed delivery means. Pure.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What to do about an error of the cluster or of librdkafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A consequence of another failure, or of our own purge: says nothing by itself.
    Echo,
    /// Try again, without end: time-outs, leader changes, brokers away, too few replicas.
    Retry,
    /// The topic can't be written to now: pause it, go on with the others.
    Topic,
    /// Nothing can be written now until somebody changes credentials or rights: pause, shout, try again slowly.
    Denied,
    /// A record of the batch bears a time that the topic does not take (`message.timestamp.before.max.ms`, `…after.max.ms`): it may
    /// be accepted with the time of sending.
    Untimely,
    /// A record of the batch can never be accepted.
    Poison,
}

/// Classifies by code. What is not known is retried: nothing is given up for an error that nobody thought of.
pub(crate) const fn classify(code: Code) -> Class {
    match code {
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::GaplessGuarantee | Code::BrokerDestroy => {
            Class::Echo
        }
        Code::TopicAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic => Class::Topic,
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled => Class::Denied,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord | Code::InvalidDifferentRecord => {
            Class::Poison
        }
        Code::InvalidTimestamp => Class::Untimely,
        _ => Class::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neighbours_lost_events_by_is_retried() {
        for code in [
            Code::MessageTimedOut,
            Code::OperationTimedOut,
            Code::AllBrokersDown,
            Code::BrokerTransportFailure,
            Code::QueueFull,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::NotLeaderForPartition,
            Code::OutOfOrderSequenceNumber,
            Code::UnknownProducerId,
            Code::InvalidProducerEpoch,
            Code::PolicyViolation,
            Code::Unknown,
        ] {
            assert_eq!(classify(code), Class::Retry, "{code:?}");
        }
    }

    #[test]
    fn rights_pause_and_only_what_can_never_be_accepted_is_poison() {
        assert_eq!(classify(Code::TopicAuthorizationFailed), Class::Topic);
        assert_eq!(classify(Code::SaslAuthenticationFailed), Class::Denied);
        assert_eq!(classify(Code::SSL), Class::Denied);
        assert_eq!(classify(Code::MessageSizeTooLarge), Class::Poison);
        assert_eq!(classify(Code::InvalidRecord), Class::Poison);
        assert_eq!(classify(Code::InvalidTimestamp), Class::Untimely, "its time can be another");
        assert_eq!(classify(Code::PurgeInflight), Class::Echo);
    }
}
