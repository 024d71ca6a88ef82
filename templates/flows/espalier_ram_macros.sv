// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}`default_nettype none

/**
 * In the place of rtl/espalier_ram.sv: the same memory, made of the process's macros.
 *
 * A memory becomes a grid of one kind of macro, the kind that takes least area; memories of a few words stay registers.
 * Macros have no initial content, and always two ports: InitFile and SinglePort are of no use here. Read latency is two
 * cycles, as there.
 */
${ interface }$

  // Area of the grid of each kind, um2.
{% for m in macros %}  localparam int Area${ loop.index0 }$ = ((Width + ${ m.bits - 1 }$) / ${ m.bits }$) * ((Depth + ${ m.words - 1 }$) / ${ m.words }$) * ${ m.area_um2 }$;
{% endfor %}{% for m in macros %}{% if loop.first %}  localparam int Least0 = Area0;
  localparam int Kind0  = 0;
{% else %}  localparam int Kind${ loop.index0 }$  = Area${ loop.index0 }$ < Least${ loop.index0 - 1 }$ ? ${ loop.index0 }$ : Kind${ loop.index0 - 1 }$;
  localparam int Least${ loop.index0 }$ = Area${ loop.index0 }$ < Least${ loop.index0 - 1 }$ ? Area${ loop.index0 }$ : Least${ loop.index0 - 1 }$;
{% endif %}{% endfor %}  localparam int Kind   = Kind${ macros.len() - 1 }$;
  localparam int MacroWords = {% for m in macros %}{% if !loop.last %}Kind == ${ loop.index0 }$ ? ${ m.words }$ : {% else %}${ m.words }$;{% endif %}{% endfor %}
  localparam int MacroBits  = {% for m in macros %}{% if !loop.last %}Kind == ${ loop.index0 }$ ? ${ m.bits }$ : {% else %}${ m.bits }$;{% endif %}{% endfor %}
  localparam int MacroAddrW = $clog2(MacroWords);
  localparam int Banks      = (Depth + MacroWords - 1) / MacroWords;
  localparam int Slices     = (Width + MacroBits - 1) / MacroBits;

  logic             rd_en_q;
  logic [Width-1:0] word, out_q;

  assign rd_data_o = out_q;

  always_ff @(posedge clk_i) begin
    rd_en_q <= rd_en_i;
    if (rd_en_q) out_q <= word;
  end

  if (Width * Depth <= 512) begin : gen_registers
    logic [Width-1:0] memory [0:Depth-1];
    logic [Width-1:0] word_q;

    assign word = word_q;

    always_ff @(posedge clk_i) begin
      if (wr_en_i) memory[wr_addr_i] <= wr_data_i;
      if (rd_en_i) word_q <= memory[rd_addr_i];
    end
  end else begin : gen_macros
    localparam int Padded = Slices * MacroBits;

    logic [31:0]             wr_addr, rd_addr, rd_bank_q;
    logic [Padded-1:0]       wr_data;
    logic [Banks*Padded-1:0] words;

    assign wr_addr = 32'(wr_addr_i);
    assign rd_addr = 32'(rd_addr_i);
    assign wr_data = Padded'(wr_data_i);
    assign word    = words[rd_bank_q*Padded+:Width];

    always_ff @(posedge clk_i) begin
      if (rd_en_i) rd_bank_q <= rd_addr / MacroWords;
    end

    for (genvar b = 0; b < Banks; b++) begin : gen_bank
      logic wr_en, rd_en;

      assign wr_en = wr_en_i && wr_addr / MacroWords == b;
      assign rd_en = rd_en_i && rd_addr / MacroWords == b;

      for (genvar s = 0; s < Slices; s++) begin : gen_slice
        localparam int Low = b * Padded + s * MacroBits;

{% for m in macros %}        if (Kind == ${ loop.index0 }$) begin : gen_${ m.words }$x${ m.bits }$
          espalier_sram_${ m.words }$x${ m.bits }$ u_macro (
            .clk_i    (clk_i),
            .wr_en_i  (wr_en),
            .wr_addr_i(wr_addr[MacroAddrW-1:0]),
            .wr_data_i(wr_data[s*MacroBits+:MacroBits]),
            .rd_en_i  (rd_en),
            .rd_addr_i(rd_addr[MacroAddrW-1:0]),
            .rd_data_o(words[Low+:MacroBits])
          );
        end
{% endfor %}      end
    end
  end

endmodule

`default_nettype wire
