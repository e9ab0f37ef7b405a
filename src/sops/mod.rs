pub mod yaml;

#[cfg(test)]
mod t {
    #[test]
    fn corpus() {
        for e in std::fs::read_dir("/work/shared/corpus/sops-yaml").unwrap() {
            let p = e.unwrap().path();
            let t = std::fs::read_to_string(&p).unwrap();
            match super::yaml::parse(&t) {
                Ok(s) => {
                    let mut n = 0;
                    s.documents[0].walk(&mut |x| {
                        if let Some(a) = &x.anchor {
                            n += 1;
                            assert!(t[a.span.clone()].starts_with('&'), "{p:?}");
                        }
                        if let Some(a) = x.alias() {
                            assert_eq!(&t[x.span.clone()], format!("*{a}"));
                        }
                        if let super::yaml::Kind::Scalar { value, .. } = &x.kind {
                            if !t[x.span.clone()].contains(&**value) {
                                println!("{p:?} {:?} {value}", &t[x.span.clone()]);
                            }
                        }
                    });
                    println!("{p:?} ok {n} {}", s.comments.len());
                }
                Err(e) => println!("{p:?} {e}"),
            }
        }
        let t = "\u{feff}# c\r\nkéys:\r\n  - &a x\r\n  -\r\n";
        println!("{:#?}", super::yaml::parse(t));
    }
}
