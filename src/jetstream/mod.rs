//! The hands towards NATS JetStream. No Kubernetes and nothing of the membership domain in here.
