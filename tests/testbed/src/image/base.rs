//! The images that every cluster has. Each has a folder under `images/` with its Dockerfile.

use super::{Part, Recipe, Source};
use crate::tools::{Program, Tool, Tools};

/// What holds a pod's namespaces. The name that Kubernetes 1.36 itself uses.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// A shell and small tools, from Debian's busybox: volume helpers, Jobs and first looks.
pub const BUSYBOX: &str = "docker.io/library/busybox:stable";

/// Where Debian's busybox-static is.
const BUSYBOX_PROGRAM: &str = "/bin/busybox";

/// The name of the NATS image, as its publisher names it.
#[must_use]
pub fn nats() -> String {
    format!("docker.io/library/nats:{}-scratch", Tool::NatsServer.version())
}

/// A file of `images/NAME`.
macro_rules! image_file {
    ($image:literal, $file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/images/", $image, "/", $file))
    };
}

/// What the images of every cluster are made of.
#[must_use]
pub fn recipes(tools: &Tools) -> Vec<Recipe> {
    let text = |name, text| Part { name, source: Source::Text(text) };
    let file = |name, path| Part { name, source: Source::File(path) };
    vec![
        Recipe {
            name: PAUSE.to_owned(),
            parts: vec![
                text("Dockerfile", image_file!("pause", "Dockerfile")),
                Part { name: "pause", source: Source::StaticC(image_file!("pause", "pause.c")) },
            ],
        },
        Recipe {
            name: BUSYBOX.to_owned(),
            parts: vec![
                text("Dockerfile", image_file!("busybox", "Dockerfile")),
                text("passwd", image_file!("busybox", "passwd")),
                text("group", image_file!("busybox", "group")),
                file("busybox", BUSYBOX_PROGRAM.into()),
            ],
        },
        Recipe {
            name: nats(),
            parts: vec![
                text("Dockerfile", image_file!("nats", "Dockerfile")),
                text("nats-server.conf", image_file!("nats", "nats-server.conf")),
                file("nats-server", tools.path(Program::NatsServer)),
            ],
        },
    ]
}
