# Lists.
lib: rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    genList
    groupBy
    head
    isList
    length
    map
    sort
    tail
    ;

  singleton = x: [ x ];
  toList = x: if isList x then x else [ x ];
  forEach = xs: f: map f xs;
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  optional = condition: x: if condition then [ x ] else [ ];
  optionals = condition: xs: if condition then xs else [ ];
  count = pred: foldl' (n: x: if pred x then n + 1 else n) 0;
  imap0 = f: xs: genList (n: f n (elemAt xs n)) (length xs);
  imap1 = f: xs: genList (n: f (n + 1) (elemAt xs n)) (length xs);

  foldr =
    op: nul: xs:
    let
      size = length xs;
      go = n: if n == size then nul else op (elemAt xs n) (go (n + 1));
    in
    go 0;

  flatten = x: if isList x then concatMap flatten x else [ x ];
  remove = e: filter (x: x != e);
  reverseList =
    xs:
    let
      size = length xs;
    in
    genList (n: elemAt xs (size - n - 1)) size;
  last = xs: assert lib.assertMsg (xs != [ ]) "lists.last: list must not be empty!"; elemAt xs (length xs - 1);
  init = xs: assert lib.assertMsg (xs != [ ]) "lists.init: list must not be empty!"; take (length xs - 1) xs;
  take = n: sublist 0 n;
  drop = n: xs: sublist n (length xs) xs;
  sublist =
    start: size: xs:
    let
      left = length xs - start;
    in
    genList (n: elemAt xs (n + start)) (if left < 0 then 0 else if size > left then left else size);

  findFirst =
    pred: default: xs:
    let
      hits = filter pred xs;
    in
    if hits == [ ] then default else head hits;
  findFirstIndex =
    pred: default: xs:
    findFirst (n: pred (elemAt xs n)) default (range 0 (length xs - 1));
  findSingle =
    pred: default: multiple: xs:
    let
      hits = filter pred xs;
    in
    if hits == [ ] then
      default
    else if length hits == 1 then
      head hits
    else
      multiple;

  unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
  allUnique = xs: length (unique xs) == length xs;
  intersectLists = a: filter (x: elem x a);
  subtractLists = a: filter (x: !elem x a);
  zipListsWith =
    f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  sortOn = key: xs: map (p: p.x) (sort (a: b: a.k < b.k) (map (x: { k = key x; inherit x; }) xs));
  naturalSort = sort lib.lessThan;
}
