//! Reads a PDF as a reader for the blind does: along its structure, by another library than the one that wrote it.

use std::collections::{BTreeMap, HashMap};

use lopdf::content::Content;
use lopdf::{Dictionary, Document, Object, ObjectId};

/// A PDF.
pub(super) struct Paper {
    pdf: Document,
    /// What is said and what is drawn under each marked piece, by page and number.
    pieces: HashMap<(ObjectId, i64), (String, String)>,
    feet: Vec<String>,
    /// The elements in the order of the structure: role, and the pieces directly under it.
    elements: Vec<(String, Vec<(ObjectId, i64)>)>,
    unscoped: usize,
}

impl Paper {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let pdf = Document::load_mem(bytes).unwrap();
        let mut paper = Self { pieces: HashMap::new(), feet: Vec::new(), elements: Vec::new(), unscoped: 0, pdf };
        for page in paper.pdf.page_iter().collect::<Vec<_>>() {
            paper.read_page(page);
        }
        let root = paper.of_catalog(b"StructTreeRoot").as_dict().unwrap().clone();
        paper.walk(root.get(b"K").unwrap(), None);
        paper
    }

    fn get<'p>(&'p self, object: &'p Object) -> &'p Object {
        self.pdf.dereference(object).unwrap().1
    }

    fn of_catalog(&self, key: &[u8]) -> &Object {
        self.get(self.pdf.catalog().unwrap().get(key).unwrap())
    }

    fn read_page(&mut self, page: ObjectId) {
        let pdf = self.pdf.clone();
        let fonts: BTreeMap<Vec<u8>, &Dictionary> = pdf.get_page_fonts(page).unwrap();
        let content = Content::decode(&pdf.get_page_content(page)).unwrap();
        let mut encoding = None;
        let mut marks: Vec<Mark> = Vec::new();
        self.feet.push(String::new());
        for operation in &content.operations {
            match operation.operator.as_str() {
                "BMC" => marks.push(Mark::default()),
                "BDC" => {
                    let properties = self.properties(page, &operation.operands[1]);
                    let mark = Mark {
                        id: properties.get(b"MCID").ok().map(|id| id.as_i64().unwrap()),
                        actual: properties.get(b"ActualText").ok().map(text_of),
                        foot: properties.get(b"Subtype").is_ok_and(|it| it.as_name().unwrap() == b"Footer"),
                    };
                    if let Some(actual) = &mark.actual {
                        let within = marks.iter().rev().chain([&mark]).find_map(|mark| mark.id);
                        if let Some(id) = within
                            && marks.iter().all(|mark| mark.actual.is_none())
                        {
                            self.pieces.entry((page, id)).or_default().0.push_str(actual);
                        }
                    }
                    marks.push(mark);
                }
                "EMC" => drop(marks.pop()),
                "Tf" => {
                    let font = fonts[operation.operands[0].as_name().unwrap()];
                    encoding = Some(font.get_font_encoding(&pdf).unwrap());
                }
                "Tj" | "TJ" => {
                    let items = match &operation.operands[0] {
                        Object::Array(items) => items.clone(),
                        one => vec![one.clone()],
                    };
                    let mut drawn = String::new();
                    for item in items {
                        if let Object::String(bytes, _) = item {
                            drawn.push_str(&Document::decode_text(encoding.as_ref().unwrap(), &bytes).unwrap());
                        }
                    }
                    if marks.iter().any(|mark| mark.foot) {
                        self.feet.last_mut().unwrap().push_str(&drawn);
                    } else if let Some(id) = marks.iter().rev().find_map(|mark| mark.id) {
                        let piece = self.pieces.entry((page, id)).or_default();
                        piece.1.push_str(&drawn);
                        if marks.iter().all(|mark| mark.actual.is_none()) {
                            piece.0.push_str(&drawn);
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(marks.is_empty());
    }

    /// The properties of a marked piece: written there, or named and kept with the page.
    fn properties(&self, page: ObjectId, operand: &Object) -> Dictionary {
        match operand {
            Object::Dictionary(properties) => properties.clone(),
            Object::Name(name) => {
                let page = self.pdf.get_dictionary(page).unwrap();
                let resources = self.get(page.get(b"Resources").unwrap()).as_dict().unwrap();
                let all = self.get(resources.get(b"Properties").unwrap()).as_dict().unwrap();
                self.get(all.get(name).unwrap()).as_dict().unwrap().clone()
            }
            other => panic!("{other:?}"),
        }
    }

    fn walk(&mut self, object: &Object, page: Option<ObjectId>) {
        match self.get(object).clone() {
            Object::Array(items) => items.iter().for_each(|item| self.walk(item, page)),
            Object::Integer(id) => self.elements.last_mut().unwrap().1.push((page.unwrap(), id)),
            Object::Dictionary(element) => {
                let page = element.get(b"Pg").ok().map(|page| page.as_reference().unwrap()).or(page);
                if let Ok(id) = element.get(b"MCID") {
                    let id = (page.unwrap(), id.as_i64().unwrap());
                    self.elements.last_mut().unwrap().1.push(id);
                    return;
                }
                let Ok(role) = element.get(b"S") else { return };
                let role = String::from_utf8(role.as_name().unwrap().to_vec()).unwrap();
                if role == "TH" && !format!("{:?}", element.get(b"A").map(|it| self.get(it).clone())).contains("Scope")
                {
                    self.unscoped += 1;
                }
                self.elements.push((role, Vec::new()));
                let own = self.elements.len();
                if let Ok(kids) = element.get(b"K") {
                    let kids = kids.clone();
                    self.walk(&kids, page);
                }
                // What follows an inner element would be taken for its own.
                assert!(self.elements.len() == own || self.elements[own - 1].1.is_empty(), "mixed content");
            }
            other => panic!("{other:?}"),
        }
    }

    fn texts(&self, of: impl Fn(&(String, String)) -> &str) -> Vec<String> {
        let text = |ids: &Vec<(ObjectId, i64)>| ids.iter().map(|id| of(&self.pieces[id])).collect::<String>();
        self.elements.iter().filter(|(role, ids)| role != "Lbl" && !ids.is_empty()).map(|(_, ids)| text(ids)).collect()
    }

    /// What is said, element by element.
    pub(super) fn lines(&self) -> Vec<String> {
        self.texts(|piece| &piece.0)
    }

    /// What is drawn, element by element.
    pub(super) fn drawn(&self) -> Vec<String> {
        self.texts(|piece| &piece.1)
    }

    pub(super) fn roles(&self) -> Vec<String> {
        self.elements.iter().map(|(role, _)| role.clone()).collect()
    }

    pub(super) fn headers_without_scope(&self) -> usize {
        self.unscoped
    }

    pub(super) fn feet(&self) -> &[String] {
        &self.feet
    }

    pub(super) fn pages(&self) -> usize {
        self.pdf.page_iter().count()
    }

    pub(super) fn language(&self) -> String {
        text_of(self.of_catalog(b"Lang"))
    }

    pub(super) fn is_marked(&self) -> bool {
        self.of_catalog(b"MarkInfo").as_dict().unwrap().get(b"Marked").unwrap().as_bool().unwrap()
    }

    pub(super) fn shows_its_title(&self) -> bool {
        let preferences = self.of_catalog(b"ViewerPreferences").as_dict().unwrap();
        preferences.get(b"DisplayDocTitle").unwrap().as_bool().unwrap()
    }

    pub(super) fn claims_universal_accessibility(&self) -> bool {
        let metadata = self.of_catalog(b"Metadata").as_stream().unwrap();
        let xml = String::from_utf8(metadata.get_plain_content().unwrap()).unwrap();
        xml.contains("<pdfuaid:part>1</pdfuaid:part>")
    }

    pub(super) fn title(&self) -> String {
        let info = self.get(self.pdf.trailer.get(b"Info").unwrap()).as_dict().unwrap();
        text_of(info.get(b"Title").unwrap())
    }

    /// How many fonts a printer would have to have itself.
    pub(super) fn fonts_without_a_file(&self) -> usize {
        let is_one = |it: &&Object| it.as_dict().is_ok_and(|it| it.has_type(b"FontDescriptor"));
        let described: Vec<&Object> = self.pdf.objects.values().filter(is_one).collect();
        assert!(!described.is_empty());
        let embedded = |it: &&&Object| {
            let it = it.as_dict().unwrap();
            [&b"FontFile"[..], b"FontFile2", b"FontFile3"].iter().any(|key| it.has(key))
        };
        described.len() - described.iter().filter(embedded).count()
    }
}

#[derive(Default)]
struct Mark {
    id: Option<i64>,
    actual: Option<String>,
    foot: bool,
}

/// A text string: UTF-16 with its mark, or ASCII.
fn text_of(object: &Object) -> String {
    let bytes = object.as_str().unwrap();
    match bytes.strip_prefix(&[0xfe, 0xff]) {
        Some(wide) => {
            let units: Vec<u16> = wide.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).unwrap()
        }
        None => String::from_utf8(bytes.to_vec()).unwrap(),
    }
}
