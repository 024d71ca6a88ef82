// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Fetch: reads the weight stream of a program from external memory, ahead of its use, as AXI4 bursts.
 *
 * start_i begins anew at byte base_i; `beats_i` beats follow, in bursts as of espalier_burst. A read is requested only
 * if a whole burst has room behind everything requested before, so data are never held back (rready is always high),
 * and as many reads are outstanding as there is room for. free_i gives the room of one word back.
 *
 * Beats become words of WordBytes bytes without gaps between them, lowest byte first; at most one a cycle, because a
 * word is no narrower than a beat. What is left of a stream that was not used up is dropped after start_i.
 *
 * Latency: a request leaves one cycle after the decision; word_valid_o two cycles after the beat that completes it.
 */
module espalier_fetch #(
  // Bytes of a beat, a power of two.
  parameter int BusBytes   = 8,
  // Bytes of a word, at least BusBytes.
  parameter int WordBytes  = 18,
  // Words for which there is room.
  parameter int Depth      = 512,
  // Beats of a burst, a power of two.
  parameter int BurstBeats = 16
) (
  input  wire logic                   clk_i,
  input  wire logic                   rst_ni,

  // stream
  input  wire logic                   start_i,
  input  wire logic [63:0]            base_i,
  input  wire logic [31:0]            beats_i,

  // AXI4 read address and data channels
  output logic                        ar_valid_o,
  input  wire logic                   ar_ready_i,
  output logic [63:0]                 ar_addr_o,
  output logic [7:0]                  ar_len_o,
  input  wire logic                   r_valid_i,
  output logic                        r_ready_o,
  input  wire logic [8*BusBytes-1:0]  r_data_i,
  input  wire logic [1:0]             r_resp_i,

  // words in order; there is room for one more
  output logic                        word_valid_o,
  output logic [8*WordBytes-1:0]      word_o,
  input  wire logic                   free_i,

  // a beat came with an error response
  output logic                        error_o
);

  localparam int BeatW     = $clog2(BusBytes);
  localparam int LenW      = $clog2(BurstBeats) + 1;
  localparam int RoomBytes = Depth * WordBytes;
  localparam int RoomW     = $clog2(RoomBytes + 1);

  // --- requests
  logic [63:0]      addr_q;
  logic [31:0]      left_q;                   // beats not requested
  logic [RoomW-1:0] room_q;                   // bytes that may be requested
  logic [31:0]      pending_q;                // beats requested and not arrived
  logic             flush_q;                  // those of a stream before are still to come

  logic             request, request_room, beat, word_have;
  logic [LenW-1:0]  length;
  logic [63:0]      next_addr;

  espalier_burst #(
    .BusBytes  (BusBytes),
    .BurstBeats(BurstBeats),
    .LeftW     (32)
  ) u_requests (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .addr_i  (addr_q),
    .left_i  (left_q),
    .take_i  (request),
    .room_o  (request_room),
    .length_o(length),
    .next_o  (next_addr),
    .valid_o (ar_valid_o),
    .ready_i (ar_ready_i),
    .addr_o  (ar_addr_o),
    .len_o   (ar_len_o)
  );

  assign request   = left_q != '0 && room_q >= RoomW'(BurstBeats * BusBytes) && !flush_q && request_room;
  assign r_ready_o = 1'b1;
  assign beat      = r_valid_i && !flush_q && !start_i;
  assign error_o   = beat && r_resp_i[1];

  always_ff @(posedge clk_i) begin
    if (request) addr_q <= next_addr;
    if (start_i) addr_q <= base_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q    <= '0;
      room_q    <= '0;
      pending_q <= '0;
      flush_q   <= 1'b0;
    end else begin
      pending_q <= pending_q + (request ? 32'(length) : 32'd0) - (r_valid_i ? 32'd1 : 32'd0);
      room_q    <= room_q - (request ? RoomW'({length, {BeatW{1'b0}}}) : RoomW'(0))
                   + (free_i ? RoomW'(WordBytes) : RoomW'(0));
      if (request) left_q <= left_q - 32'(length);
      if (flush_q && pending_q == '0) flush_q <= 1'b0;
      if (start_i) begin
        left_q  <= beats_i;
        room_q  <= RoomW'(RoomBytes);
        // A request that was decided in this very cycle belongs to the stream before, too.
        flush_q <= pending_q != '0 || request;
      end
    end
  end

  // --- beats enter at the top; a word is complete when so many bytes are there, at one of BusBytes / Unit places
  // Greatest common divisor: of a power of two and a number, the lowest bit of the number if that is less.
  localparam int LowBit   = WordBytes & -WordBytes;
  localparam int Unit     = LowBit < BusBytes ? LowBit : BusBytes;
  localparam int Places   = BusBytes / Unit;
  localparam int BufBytes = WordBytes + BusBytes - Unit;
  localparam int WordU    = WordBytes / Unit;
  localparam int CountW   = $clog2(BufBytes / Unit + 1);

  logic [8*BufBytes-1:0]  buffer_q;
  logic [CountW-1:0]      count_q;            // unused bytes, in units
  logic [8*WordBytes-1:0] word;

  assign word_have = count_q >= CountW'(WordU);

  always_comb begin
    word = '0;
    for (int p = 0; p < Places; p++) begin
      if (count_q == CountW'(WordU + p)) word = buffer_q[8*Unit*(Places-1-p)+:8*WordBytes];
    end
  end

  if (BufBytes > BusBytes) begin : gen_shift
    always_ff @(posedge clk_i) begin
      if (beat) buffer_q <= {r_data_i, buffer_q[8*BufBytes-1:8*BusBytes]};
    end
  end else begin : gen_load
    always_ff @(posedge clk_i) begin
      if (beat) buffer_q <= r_data_i;
    end
  end

  always_ff @(posedge clk_i) word_o <= word;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      count_q      <= '0;
      word_valid_o <= 1'b0;
    end else begin
      count_q      <= count_q + (beat ? CountW'(Places) : CountW'(0)) - (word_have ? CountW'(WordU) : CountW'(0));
      word_valid_o <= word_have;
    end
  end

  logic unused_bits;
  assign unused_bits = r_resp_i[0];

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(r_valid_i && pending_q == '0)) else $error("beat without a request");
      assert (!(start_i && base_i[BeatW-1:0] != '0)) else $error("stream does not start at a beat");
    end
  end
`endif

endmodule

`default_nettype wire
