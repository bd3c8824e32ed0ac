"use strict";

// Pairs and groups by the rule of rrn/search.h; knows nothing of the document.

/**
 * Similar pairs, ready to be grouped at any threshold.
 * @param {number} count of images
 * @param {number[]} first positions of images, as in `second`; first[i] and second[i] are a pair
 * @param {number[]} second
 * @param {number[]} similarity shortest decimals of float32 numbers
 * @return {{count: number, begin: Uint32Array, neighbour: Uint32Array, value: Float32Array, exact: Float64Array}} the
 *     neighbours of image r are at begin[r] ... begin[r + 1] - 1, the most similar first
 */
function makePairs(count, first, second, similarity) {
  const order = Uint32Array.from(similarity.keys()).sort((a, b) => similarity[b] - similarity[a] || a - b);
  const begin = new Uint32Array(count + 1);
  for (const row of first) begin[row + 1] += 1;
  for (const row of second) begin[row + 1] += 1;
  for (let row = 0; row < count; row += 1) begin[row + 1] += begin[row];
  const next = begin.slice();
  const neighbour = new Uint32Array(2 * order.length);
  const value = new Float32Array(2 * order.length);
  const exact = new Float64Array(2 * order.length);
  const put = (row, other, pair) => {
    const at = next[row];
    next[row] += 1;
    neighbour[at] = other;
    value[at] = similarity[pair];
    exact[at] = similarity[pair];
  };
  for (const pair of order) {
    put(first[pair], second[pair], pair);
    put(second[pair], first[pair], pair);
  }
  return { count, begin, neighbour, value, exact };
}

/**
 * The rule of rrn/search.h, to the bit: rows in descending order of their number of similar ones (equal numbers: in
 * order of position); a row that is similar to no earlier representative becomes one; every other row joins the representative
 * it is most similar to, the earlier one in position at equal similarity.
 * @param {ReturnType<makePairs>} pairs all pairs above some floor
 * @param {number} threshold at least that floor
 * @param {number[] | null} rank of every row, if the order is given instead; lower ranks come first
 * @return {{groups: {representative: number, members: {index: number, similarity: number}[]}[], unique: number}}
 *     groups by position of the representative, members by descending similarity, then by position
 */
function groupByRepresentative(pairs, threshold, rank) {
  const { count, begin, neighbour, value, exact } = pairs;
  // The program compares float32 numbers.
  const limit = Math.fround(threshold);
  const similar = new Uint32Array(count);
  const connected = [];
  for (let row = 0; row < count; row += 1) {
    let at = begin[row];
    while (at < begin[row + 1] && value[at] > limit) at += 1;
    similar[row] = at - begin[row];
    if (similar[row] > 0) connected.push(row);
  }
  connected.sort(rank ? (a, b) => rank[a] - rank[b] : (a, b) => similar[b] - similar[a] || a - b);

  const none = 0xffffffff;
  const owner = new Uint32Array(count).fill(none);
  const best = new Float32Array(count);
  const bestExact = new Float64Array(count);
  let representatives = 0;
  for (const row of connected) {
    if (owner[row] !== none) continue;
    representatives += 1;
    for (let at = begin[row]; at < begin[row] + similar[row]; at += 1) {
      const other = neighbour[at];
      if (owner[other] === none || value[at] > best[other] || (value[at] === best[other] && row < owner[other])) {
        owner[other] = row;
        best[other] = value[at];
        bestExact[other] = exact[at];
      }
    }
  }

  const members = new Map();
  for (const row of connected) {
    if (owner[row] === none) continue;
    if (!members.has(owner[row])) members.set(owner[row], []);
    members.get(owner[row]).push({ index: row, similarity: bestExact[row] });
  }
  const groups = [...members].map(([representative, list]) => {
    list.sort((a, b) => b.similarity - a.similarity || a.index - b.index);
    return { representative, members: list };
  });
  groups.sort((a, b) => a.representative - b.representative);
  return { groups, unique: representatives + count - connected.length };
}
