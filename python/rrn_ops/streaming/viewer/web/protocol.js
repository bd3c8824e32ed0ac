// The binary message of a frame: the header's length (uint32, little-endian), the header as JSON, the JPEG file.

export function readPacket(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const jpeg = buffer.byteLength > 4 + length ? new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }) : null;
  return { header, message: header.frame, jpeg };
}

export const keyOf = ({ camera, session, frame }) => ({ camera, session, frame });
