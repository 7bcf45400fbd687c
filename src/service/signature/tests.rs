use axum::http::HeaderValue;
use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::*;

fn target() -> Target<'static> {
    Target {
        method: "POST",
        authority: "membership.example:8080",
        path: "/v1/rooms",
        query: "",
        content_digest: "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    }
}

const CREATED: u64 = 1_700_000_000;

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn nonce() -> Nonce {
    "nonce-0123456789".parse().unwrap()
}

fn headers(input: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE_INPUT, HeaderValue::from_str(input).unwrap());
    headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
    headers
}

fn signed() -> (String, String) {
    target().sign(&signer(), CREATED, &nonce())
}

/// RFC 9421, B.2.6: other components, but the same base and the same algorithm.
#[test]
fn the_rfcs_ed25519_vector_verifies_and_signs() {
    let components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let input = "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
                 \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
    let base = signature_base(&components, input);
    let seed = BASE64URL_NOPAD.decode(b"n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU").unwrap();
    let public = BASE64URL_NOPAD.decode(b"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
    let key = SigningKey::from_bytes(&seed.try_into().unwrap());
    assert_eq!(key.verifying_key().as_bytes().as_slice(), public);
    let signature = BASE64.encode(&key.sign(base.as_bytes()).to_bytes());
    assert_eq!(
        signature,
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    );
    let claim = Claim {
        created: 1_618_884_473,
        nonce: nonce(),
        key: <[u8; 32]>::try_from(public).unwrap().try_into().unwrap(),
        input: input.to_owned(),
        signature: BASE64.decode(signature.as_bytes()).unwrap().try_into().unwrap(),
    };
    let key = VerifyingKey::from_bytes(claim.key.as_bytes()).unwrap();
    let signature = Signature::from_bytes(&claim.signature);
    assert!(key.verify_strict(base.as_bytes(), &signature).is_ok());
}

#[test]
fn what_we_sign_we_verify() {
    let (input, signature) = signed();
    let claim = Claim::read(&headers(&input, &signature)).unwrap();
    assert_eq!((claim.created, &claim.nonce), (CREATED, &nonce()));
    assert_eq!(claim.key.as_bytes(), signer().verifying_key().as_bytes());
    claim.verify(&target()).unwrap();
}

#[test]
fn a_change_of_any_signed_part_is_seen() {
    let (input, signature) = signed();
    let claim = Claim::read(&headers(&input, &signature)).unwrap();
    let others = [
        Target { method: "PUT", ..target() },
        Target { authority: "other.example", ..target() },
        Target { path: "/v1/users", ..target() },
        Target { path: "/v1/rooms/", ..target() },
        Target { query: "x=1", ..target() },
        Target { content_digest: "sha-256=:AAAA:", ..target() },
    ];
    for other in others {
        assert_eq!(claim.verify(&other), Err(SignatureFault::Wrong), "{other:?}");
    }
    let later = input.replace(&CREATED.to_string(), &(CREATED + 1).to_string());
    let other_nonce = input.replace("0123456789", "9123456789");
    for changed in [later, other_nonce] {
        let claim = Claim::read(&headers(&changed, &signature)).unwrap();
        assert_eq!(claim.verify(&target()), Err(SignatureFault::Wrong), "{changed}");
    }
}

/// Replaces a piece of the good input and tells why the claim is not read.
fn fault(from: &str, to: &str) -> SignatureFault {
    let (input, signature) = signed();
    assert!(input.contains(from), "{from} is not in {input}");
    Claim::read(&headers(&input.replace(from, to), &signature)).unwrap_err()
}

#[test]
fn each_component_must_be_there_once_and_in_its_place() {
    for name in COMPONENTS {
        let quoted = format!("\"{name}\"");
        let first = name == COMPONENTS[0];
        let gone = if first { format!("{quoted} ") } else { format!(" {quoted}") };
        assert_eq!(fault(&gone, ""), SignatureFault::Components, "without {name}");
        let doubled = format!("{quoted} {quoted}");
        assert_eq!(fault(&quoted, &doubled), SignatureFault::Components, "{name} twice");
        let with_parameter = format!("{quoted};req");
        assert_eq!(fault(&quoted, &with_parameter), SignatureFault::Components, "{name};req");
    }
    let swapped = fault("\"@path\" \"@query\"", "\"@query\" \"@path\"");
    assert_eq!(swapped, SignatureFault::Components);
    let more = fault("\"content-digest\"", "\"content-digest\" \"date\"");
    assert_eq!(more, SignatureFault::Components);
}

#[test]
fn each_parameter_must_be_there_once_and_right() {
    let (input, _) = signed();
    for name in PARAMETERS {
        let start = input.find(&format!(";{name}=")).unwrap();
        let end = input[start + 1..].find(';').map_or(input.len(), |end| start + 1 + end);
        let whole = &input[start..end];
        assert_eq!(fault(whole, ""), SignatureFault::Parameter(name.to_owned()), "without");
        let doubled = format!("{whole}{whole}");
        assert_eq!(fault(whole, &doubled), SignatureFault::Malformed(SIGNATURE_INPUT), "{name}");
        let token = format!(";{name}=token");
        assert_eq!(fault(whole, &token), SignatureFault::Parameter(name.to_owned()), "a token");
    }
    for (from, to, name) in [
        ("ed25519", "none", "alg"),
        ("ed25519", "hmac-sha256", "alg"),
        ("ed25519", "rsa-pss-sha512", "alg"),
        (TAG, "other", "tag"),
        ("created=", "created=-", "created"),
        ("nonce-0123456789", "short", "nonce"),
        (";alg", ";expires=1800000000;alg", "expires"),
        (";alg", ";x;alg", "x"),
    ] {
        assert_eq!(fault(from, to), SignatureFault::Parameter(name.to_owned()), "{to}");
    }
}

#[test]
fn a_key_has_one_spelling_and_must_be_a_strong_one() {
    let keyid = data_encoding::HEXLOWER.encode(signer().verifying_key().as_bytes());
    let wrong = SignatureFault::Parameter("keyid".to_owned());
    for other in [keyid.to_uppercase(), "0".repeat(64), "ab".to_owned(), "x".repeat(64)] {
        assert_eq!(fault(&keyid, &other), wrong, "{other}");
    }
}

#[test]
fn there_is_exactly_one_signature() {
    let (input, signature) = signed();
    let two_inputs = format!("{input}, other{}", input.strip_prefix("sig").unwrap());
    let two_signatures = format!("{signature}, other{}", signature.strip_prefix("sig").unwrap());
    let read = |input: &str, signature: &str| Claim::read(&headers(input, signature)).unwrap_err();
    assert_eq!(read(&two_inputs, &two_signatures), SignatureFault::NotOne);
    assert_eq!(read(&input, &two_signatures), SignatureFault::NotOne);
    assert_eq!(read(&input, &signature.replace("sig", "other")), SignatureFault::NotOne);
    let mut repeated = headers(&input, &signature);
    repeated.append(SIGNATURE, HeaderValue::from_str(&signature).unwrap());
    assert_eq!(Claim::read(&repeated).unwrap_err(), SignatureFault::Repeated(SIGNATURE));
    for name in [SIGNATURE, SIGNATURE_INPUT] {
        let mut without = headers(&input, &signature);
        without.remove(&name);
        assert_eq!(Claim::read(&without).unwrap_err(), SignatureFault::Missing(name));
    }
}

#[test]
fn a_header_in_a_second_spelling_or_of_another_form_is_refused() {
    let (input, signature) = signed();
    for bad in [
        String::new(),
        "sig".to_owned(),
        "sig=1".to_owned(),
        format!("{input} "),
        input.replace(";created", "; created"),
        input.replace("\"@method\" ", "\"@method\"  "),
        input.replace("sig=", "Sig="),
        "(".repeat(5000),
        format!("{input};"),
    ] {
        let refused = Claim::read(&headers(&bad, &signature));
        assert_eq!(refused, Err(SignatureFault::Malformed(SIGNATURE_INPUT)), "{bad}");
    }
    for bad in ["sig=:AAAA:", "sig=::", "sig=\"x\"", "sig=(1)", &format!("{signature};x=1")] {
        let refused = Claim::read(&headers(&input, bad));
        assert_eq!(refused, Err(SignatureFault::Malformed(SIGNATURE)), "{bad}");
    }
}

#[test]
fn a_signature_counts_from_a_little_before_it_was_made_to_the_end_of_its_window() {
    let (input, signature) = signed();
    let claim = Claim::read(&headers(&input, &signature)).unwrap();
    for (now, expected) in [
        (0, Err(SignatureFault::NotYetValid)),
        (CREATED - CLOCK_SKEW_SECONDS - 1, Err(SignatureFault::NotYetValid)),
        (CREATED - CLOCK_SKEW_SECONDS, Ok(())),
        (CREATED, Ok(())),
        (CREATED + READ_WINDOW_SECONDS, Ok(())),
        (CREATED + READ_WINDOW_SECONDS + 1, Err(SignatureFault::Expired)),
        (u64::MAX, Err(SignatureFault::Expired)),
    ] {
        assert_eq!(claim.check_time(now, READ_WINDOW_SECONDS), expected, "at {now}");
    }
}
